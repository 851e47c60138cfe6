#include "picture_binding.h"

#include <atomic>
#include <utility>
#include <vector>

#include "../memory/linear_mapping.h"
#include "../picture/checksum.h"
#include "addon_data.h"
#include "layout_binding.h"

namespace vsockenc {
namespace {

// Maps on a thread of libuv's pool: a thousand mmap calls take milliseconds.
class MapWorker : public Napi::AsyncWorker {
 public:
  MapWorker(Napi::Env env, PictureLayout layout, std::vector<std::vector<Extent>> resources,
            OwnDescriptors descriptors)
      : AsyncWorker(env),
        deferred_(Napi::Promise::Deferred::New(env)),
        layout_(std::move(layout)),
        resources_(std::move(resources)),
        descriptors_(std::move(descriptors)) {}

  Napi::Promise Promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override {
    try {
      picture_ = std::make_shared<Picture>(layout_, resources_);
    } catch (const PictureError &error) {
      fault_ = error.fault();
      throw;  // AsyncWorker keeps what() for OnError
    }
  }

  void OnOK() override { deferred_.Resolve(PictureBinding::Wrap(Env(), std::move(picture_))); }

  void OnError(const Napi::Error &error) override {
    SetFaultCode(error, fault_);
    deferred_.Reject(error.Value());
  }

 private:
  Napi::Promise::Deferred deferred_;
  PictureLayout layout_;
  std::vector<std::vector<Extent>> resources_;
  OwnDescriptors descriptors_;
  std::shared_ptr<Picture> picture_;
  PictureFault fault_ = PictureFault::kMapFailed;
};

// Reads the picture once, on a thread of libuv's pool.
class ChecksumWorker : public Napi::AsyncWorker {
 public:
  ChecksumWorker(Napi::Env env, std::shared_ptr<const Picture> picture)
      : AsyncWorker(env),
        deferred_(Napi::Promise::Deferred::New(env)),
        picture_(std::move(picture)) {}

  Napi::Promise Promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override {
    try {
      Staging staging;
      checksum_ = ChecksumOf(picture_->Read(staging));
    } catch (const PictureError &error) {
      fault_ = error.fault();
      picture_.reset();
      throw;  // AsyncWorker keeps what() for OnError
    }
    picture_.reset();
  }

  void OnOK() override {
    const auto result = Napi::Object::New(Env());
    result.Set("crc", checksum_.crc);
    result.Set("bytes", static_cast<double>(checksum_.bytes));
    deferred_.Resolve(result);
  }

  void OnError(const Napi::Error &error) override {
    SetFaultCode(error, fault_);
    deferred_.Reject(error.Value());
  }

 private:
  Napi::Promise::Deferred deferred_;
  std::shared_ptr<const Picture> picture_;
  Checksum checksum_{};
  PictureFault fault_ = PictureFault::kMapFailed;
};

// Gives up a reference on a thread of libuv's pool: a thousand mappings take milliseconds to undo.
class UnmapWorker : public Napi::AsyncWorker {
 public:
  UnmapWorker(Napi::Env env, std::shared_ptr<Picture> picture)
      : AsyncWorker(env), picture_(std::move(picture)) {}

 protected:
  void Execute() override { picture_.reset(); }

 private:
  std::shared_ptr<Picture> picture_;
};

// mapPicture(layout, extents): Promise<NativePicture>
Napi::Value MapPicture(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  try {
    PictureLayout layout = ReadLayout(info[0].As<Napi::Object>());
    const auto lists = info[1].As<Napi::Array>();
    OwnDescriptors descriptors;
    std::vector<std::vector<Extent>> resources;
    for (uint32_t i = 0; i < lists.Length(); ++i) {
      resources.push_back(ReadExtents(lists.Get(i), descriptors));
    }
    auto *worker =
        new MapWorker(env, std::move(layout), std::move(resources), std::move(descriptors));
    const Napi::Promise promise = worker->Promise();
    worker->Queue();  // it deletes itself
    return promise;
  } catch (const PictureError &error) {
    const auto deferred = Napi::Promise::Deferred::New(env);
    deferred.Reject(PictureErrorObject(env, error).Value());
    return deferred.Promise();
  }
}

// inlinePicture(layout): NativePicture
Napi::Value InlinePicture(const Napi::CallbackInfo &info) {
  try {
    return PictureBinding::Wrap(info.Env(),
                                std::make_shared<Picture>(ReadLayout(info[0].As<Napi::Object>())));
  } catch (const PictureError &error) {
    throw PictureErrorObject(info.Env(), error);
  }
}

const char *TierName(Tier tier) {
  switch (tier) {
    case Tier::kResource:
      return "resource";
    case Tier::kResourceGather:
      return "resource-gather";
    case Tier::kInline:
      return "inline";
  }
  return "resource";
}

// pixelFormats(): {fourcc, name}[]
Napi::Value ListFormats(const Napi::CallbackInfo &info) {
  const auto list = Napi::Array::New(info.Env());
  for (const PixelFormat &format : PixelFormats()) {
    const auto one = Napi::Object::New(info.Env());
    one.Set("fourcc", format.fourcc);
    one.Set("name", format.name);
    list.Set(list.Length(), one);
  }
  return list;
}

Napi::Value RunsInUse(const Napi::CallbackInfo &info) {
  return Napi::Number::New(info.Env(), static_cast<double>(LinearMapping::RunsInUse()));
}

// setRunBudget(runs); checked in picture.ts.
void SetRunBudget(const Napi::CallbackInfo &info) {
  LinearMapping::SetRunBudget(info[0].As<Napi::Number>().Uint32Value());
}

Napi::Value StagingBytes(const Napi::CallbackInfo &info) {
  return Napi::Number::New(info.Env(), static_cast<double>(Staging::BytesInUse()));
}

}  // namespace

void PictureBinding::Register(Napi::Env env, Napi::Object exports) {
  const Napi::Function constructor =
      DefineClass(env, "NativePicture",
                  {
                      InstanceMethod<&PictureBinding::Write>("write"),
                      InstanceMethod<&PictureBinding::IsIdle>("isIdle"),
                      InstanceMethod<&PictureBinding::Checksum>("checksum"),
                      InstanceMethod<&PictureBinding::Close>("close"),
                  });
  env.GetInstanceData<AddonData>()->picture_class = Napi::Persistent(constructor);
  exports.Set("mapPicture", Napi::Function::New<MapPicture>(env, "mapPicture"));
  exports.Set("inlinePicture", Napi::Function::New<InlinePicture>(env, "inlinePicture"));
  exports.Set("pixelFormats", Napi::Function::New<ListFormats>(env, "pixelFormats"));
  exports.Set("mappedRuns", Napi::Function::New<RunsInUse>(env, "mappedRuns"));
  exports.Set("setRunBudget", Napi::Function::New<SetRunBudget>(env, "setRunBudget"));
  exports.Set("stagingBytes", Napi::Function::New<StagingBytes>(env, "stagingBytes"));
}

Napi::Object PictureBinding::Wrap(Napi::Env env, std::shared_ptr<Picture> picture) {
  const Napi::Object object = env.GetInstanceData<AddonData>()->picture_class.New({});
  object.Set("tier", TierName(picture->tier()));
  object.Set("runs", static_cast<double>(picture->runs()));
  object.Set("bytes", static_cast<double>(picture->bytes()));
  Unwrap(object)->picture_ = std::move(picture);
  return object;
}

std::shared_ptr<Picture> PictureBinding::Share(Napi::Value value) {
  const Napi::Env env = value.Env();
  const Napi::Function known = env.GetInstanceData<AddonData>()->picture_class.Value();
  if (!value.IsObject() || !value.As<Napi::Object>().InstanceOf(known)) {
    throw Napi::TypeError::New(env, "not a picture");
  }
  std::shared_ptr<Picture> picture = Unwrap(value.As<Napi::Object>())->picture_;
  if (!picture) throw Napi::TypeError::New(env, "the picture is closed");
  return picture;
}

PictureBinding::PictureBinding(const Napi::CallbackInfo &info) : ObjectWrap(info) {}

// write(offset, bytes): boolean, false when they do not lie inside the picture. Only of an inline
// picture that is idle.
Napi::Value PictureBinding::Write(const Napi::CallbackInfo &info) {
  const double offset = info[0].As<Napi::Number>().DoubleValue();
  const auto bytes = info[1].As<Napi::Uint8Array>();
  const bool whole = offset >= 0 && offset < 9007199254740992.0;  // else the cast is undefined
  return Napi::Boolean::New(info.Env(), whole && picture_ &&
                                            picture_->Write(static_cast<uint64_t>(offset),
                                                            {bytes.Data(), bytes.ByteLength()}));
}

// isIdle(): boolean. No encode or checksum has still to read it. New ones only come from this
// thread, so the answer holds until then.
Napi::Value PictureBinding::IsIdle(const Napi::CallbackInfo &info) {
  const bool idle = picture_.use_count() == 1;
  // use_count() is a relaxed load; what the last reader did comes before what we write next.
  std::atomic_thread_fence(std::memory_order_acquire);
  return Napi::Boolean::New(info.Env(), idle);
}

// checksum(): Promise<{crc, bytes}>
Napi::Value PictureBinding::Checksum(const Napi::CallbackInfo &info) {
  if (!picture_) throw Napi::TypeError::New(info.Env(), "the picture is closed");
  auto *worker = new ChecksumWorker(info.Env(), picture_);
  const Napi::Promise promise = worker->Promise();
  worker->Queue();  // it deletes itself
  return promise;
}

// close(): Promise<void>, which settles when the last user of the mapping has let go and it is
// unmapped. Once only.
Napi::Value PictureBinding::Close(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  if (!picture_) throw Napi::TypeError::New(env, "the picture is closed");
  const auto deferred = Napi::Promise::Deferred::New(env);
  const auto nothing = Napi::Function::New(env, [](const Napi::CallbackInfo &) {});
  const auto settle = Napi::ThreadSafeFunction::New(env, nothing, "picture unmapped", 0, 1);
  picture_->OnUnmapped([settle, deferred] {
    settle.NonBlockingCall(
        [deferred](Napi::Env at, Napi::Function) { deferred.Resolve(at.Undefined()); });
    settle.Release();
  });
  (new UnmapWorker(env, std::move(picture_)))->Queue();  // it deletes itself
  return deferred.Promise();
}

}  // namespace vsockenc
