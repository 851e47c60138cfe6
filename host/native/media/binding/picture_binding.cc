#include "picture_binding.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "../memory/resource_memory.h"

namespace vsockenc {
namespace {

// The addon's data of each JavaScript environment, which deletes it.
struct AddonData {
  Napi::FunctionReference picture_class;
};

// host/native/picture.ts has the error class of each code.
const char *FaultCode(PictureFault fault) {
  constexpr std::array kCodes{"INVALID_LAYOUT", "UNSUPPORTED_FORMAT", "LAYOUT_OUTSIDE_RESOURCE",
                              "UNSTITCHABLE",   "STAGING_SPENT",      "MAP_FAILED"};
  return kCodes.at(static_cast<size_t>(fault));
}

// TypeScript has checked the range 0 … 2^53-1; the cast of any other number would be undefined.
uint64_t Whole(const Napi::Value &value) {
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= 0 && number < 9007199254740992.0)) {
    throw PictureError(PictureFault::kInvalidLayout, "a number of the layout is out of range");
  }
  return static_cast<uint64_t>(number);
}

// Duplicates of the caller's descriptors: the caller may close its own before the worker uses them.
class OwnDescriptors {
 public:
  OwnDescriptors() = default;
  OwnDescriptors(OwnDescriptors &&) = default;
  ~OwnDescriptors() {
    for (const auto &[theirs, ours] : descriptors_) close(ours);
  }

  // Throws PictureError.
  int Duplicate(int theirs) {
    const auto known = descriptors_.find(theirs);
    if (known != descriptors_.end()) return known->second;
    const int ours = fcntl(theirs, F_DUPFD_CLOEXEC, 0);
    if (ours < 0) {
      throw PictureError(PictureFault::kMapFailed, "descriptor " + std::to_string(theirs) +
                                                       " is not usable: " + strerror(errno));
    }
    descriptors_.emplace(theirs, ours);
    return ours;
  }

 private:
  std::map<int, int> descriptors_;
};

// Extents come as a flat BigUint64Array of descriptor, offset, length. Throws PictureError.
std::vector<Extent> ReadExtents(const Napi::Value &value, OwnDescriptors &descriptors) {
  const auto packed = value.As<Napi::BigUint64Array>();
  std::vector<Extent> extents;
  extents.reserve(packed.ElementLength() / 3);
  for (size_t i = 0; i + 2 < packed.ElementLength(); i += 3) {
    const int ours = descriptors.Duplicate(static_cast<int>(packed[i]));
    extents.push_back({ours, packed[i + 1], packed[i + 2]});
  }
  return extents;
}

// Runs `work` on a thread of libuv's pool. Its promise settles with what `wrap` makes of the
// result, or with an error that has the code of a PictureError. Deletes itself.
template <typename Work, typename Wrap>
class Worker : public Napi::AsyncWorker {
 public:
  Worker(Napi::Env env, Work work, Wrap wrap)
      : AsyncWorker(env),
        work_(std::move(work)),
        wrap_(std::move(wrap)),
        deferred_(Napi::Promise::Deferred::New(env)) {}

  Napi::Promise Start() {
    Queue();
    return deferred_.Promise();
  }

 private:
  void Execute() override {
    try {
      result_ = work_();
    } catch (const PictureError &error) {
      fault_ = error.fault();
      throw;  // AsyncWorker keeps what() for OnError
    }
  }
  void OnOK() override { deferred_.Resolve(wrap_(Env(), std::move(result_))); }
  void OnError(const Napi::Error &error) override {
    error.Value().Set("code", FaultCode(fault_));
    deferred_.Reject(error.Value());
  }

  Work work_;
  Wrap wrap_;
  std::invoke_result_t<Work> result_{};
  Napi::Promise::Deferred deferred_;
  PictureFault fault_ = PictureFault::kMapFailed;
};

template <typename Work, typename Wrap>
Napi::Promise InBackground(Napi::Env env, Work work, Wrap wrap) {
  return (new Worker(env, std::move(work), std::move(wrap)))->Start();
}

// newBudget(runs): NativeBudget; checked in picture.ts.
Napi::Value NewBudget(const Napi::CallbackInfo &info) {
  using Shared = std::shared_ptr<Budget>;
  const uint32_t runs = info[0].As<Napi::Number>().Uint32Value();
  return Napi::External<Shared>::New(info.Env(), new Shared(std::make_shared<Budget>(runs)),
                                     [](Napi::Env, Shared *budget) { delete budget; });
}

// mapPicture(layout, extents, budget): Promise<NativePicture>
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
    // A thousand mmap calls take milliseconds.
    return InBackground(
        env,
        [layout = std::move(layout), resources = std::move(resources),
         descriptors = std::move(descriptors), budget = BudgetOf(info[2])] {
          return std::make_shared<Picture>(layout, resources, budget);
        },
        PictureBinding::Wrap);
  } catch (const PictureError &error) {
    const auto deferred = Napi::Promise::Deferred::New(env);
    deferred.Reject(PictureErrorObject(env, error).Value());
    return deferred.Promise();
  }
}

// inlinePicture(layout, budget): NativePicture
Napi::Value InlinePicture(const Napi::CallbackInfo &info) {
  try {
    return PictureBinding::Wrap(
        info.Env(),
        std::make_shared<Picture>(ReadLayout(info[0].As<Napi::Object>()), BudgetOf(info[1])));
  } catch (const PictureError &error) {
    throw PictureErrorObject(info.Env(), error);
  }
}

const char *TierName(Tier tier) {
  constexpr std::array kNames{"resource", "resource-gather", "inline"};
  return kNames.at(static_cast<size_t>(tier));
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
  return Napi::Number::New(info.Env(), static_cast<double>(Budget::AllRuns()));
}

Napi::Value StagingBytes(const Napi::CallbackInfo &info) {
  return Napi::Number::New(info.Env(), static_cast<double>(Budget::AllStaging()));
}

}  // namespace

PictureLayout ReadLayout(const Napi::Object &from) {
  PictureLayout layout{
      .width = Whole(from.Get("width")),
      .height = Whole(from.Get("height")),
      .fourcc = Whole(from.Get("fourcc")),
      .planes = {},
      .visible = {},
  };
  const auto visible = from.Get("visible").As<Napi::Object>();
  layout.visible = {
      .x = Whole(visible.Get("x")),
      .y = Whole(visible.Get("y")),
      .width = Whole(visible.Get("width")),
      .height = Whole(visible.Get("height")),
  };
  const auto planes = from.Get("planes").As<Napi::Array>();
  for (uint32_t i = 0; i < planes.Length(); ++i) {
    const auto plane = planes.Get(i).As<Napi::Object>();
    layout.planes.push_back({
        .resource = static_cast<size_t>(Whole(plane.Get("resource"))),
        .offset = Whole(plane.Get("offset")),
        .stride = Whole(plane.Get("stride")),
    });
  }
  return layout;
}

std::shared_ptr<Budget> BudgetOf(const Napi::Value &value) {
  return *value.As<Napi::External<std::shared_ptr<Budget>>>().Data();
}

Napi::Error PictureErrorObject(Napi::Env env, const PictureError &error) {
  const auto object = Napi::Error::New(env, error.what());
  object.Value().Set("code", FaultCode(error.fault()));
  return object;
}

void PictureBinding::Register(Napi::Env env, Napi::Object exports) {
  const Napi::Function constructor =
      DefineClass(env, "NativePicture",
                  {
                      InstanceMethod<&PictureBinding::Write>("write"),
                      InstanceMethod<&PictureBinding::IsIdle>("isIdle"),
                      InstanceMethod<&PictureBinding::Checksum>("checksum"),
                      InstanceMethod<&PictureBinding::Close>("close"),
                  });
  env.SetInstanceData(new AddonData{Napi::Persistent(constructor)});
  exports.Set("mapPicture", Napi::Function::New<MapPicture>(env, "mapPicture"));
  exports.Set("inlinePicture", Napi::Function::New<InlinePicture>(env, "inlinePicture"));
  exports.Set("pixelFormats", Napi::Function::New<ListFormats>(env, "pixelFormats"));
  exports.Set("mappedRuns", Napi::Function::New<RunsInUse>(env, "mappedRuns"));
  exports.Set("newBudget", Napi::Function::New<NewBudget>(env, "newBudget"));
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
    throw Napi::TypeError::New(env, "expected a picture");
  }
  std::shared_ptr<Picture> picture = Unwrap(value.As<Napi::Object>())->picture_;
  if (!picture) throw Napi::TypeError::New(env, "the picture is closed");
  return picture;
}

PictureBinding::PictureBinding(const Napi::CallbackInfo &info) : ObjectWrap(info) {}

// write(offset, bytes): boolean, false when the picture does not have those bytes. Only for an
// inline picture that is idle.
Napi::Value PictureBinding::Write(const Napi::CallbackInfo &info) {
  const double offset = info[0].As<Napi::Number>().DoubleValue();
  const auto bytes = info[1].As<Napi::Uint8Array>();
  const bool whole = offset >= 0 && offset < 9007199254740992.0;  // else the cast is undefined
  return Napi::Boolean::New(info.Env(), whole && picture_ &&
                                            picture_->Write(static_cast<uint64_t>(offset),
                                                            {bytes.Data(), bytes.ByteLength()}));
}

// isIdle(): boolean: no encode or checksum will read it. New ones only come from this thread, so
// the answer holds until then.
Napi::Value PictureBinding::IsIdle(const Napi::CallbackInfo &info) {
  const bool idle = picture_.use_count() == 1;
  // use_count() is a relaxed load: order the last reader's loads before the next write.
  std::atomic_thread_fence(std::memory_order_acquire);
  return Napi::Boolean::New(info.Env(), idle);
}

// checksum(): Promise<{crc, bytes}>
Napi::Value PictureBinding::Checksum(const Napi::CallbackInfo &info) {
  if (!picture_) throw Napi::TypeError::New(info.Env(), "the picture is closed");
  return InBackground(
      info.Env(),
      [shared = std::shared_ptr<const Picture>(picture_)]() mutable {
        const auto picture = std::move(shared);  // released here, not on the JavaScript thread
        Staging staging;
        return ChecksumOf(picture->Read(staging));
      },
      [](Napi::Env env, vsockenc::Checksum checksum) {
        const auto result = Napi::Object::New(env);
        result.Set("crc", checksum.crc);
        result.Set("bytes", static_cast<double>(checksum.bytes));
        return result;
      });
}

// close(): Promise<void>, which settles when the last user has released the mapping and it is
// unmapped.
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
  // Unmapping a thousand runs takes milliseconds.
  InBackground(
      env, [picture = std::move(picture_)]() mutable { return picture.reset(), true; },
      [](Napi::Env at, bool) { return at.Undefined(); });
  return deferred.Promise();
}

}  // namespace vsockenc
