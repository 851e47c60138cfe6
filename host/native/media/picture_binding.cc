#include "picture_binding.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "addon_data.h"
#include "picture_error.h"

namespace vsockenc {
namespace {

// The codes by which host/native/picture.ts finds the error class.
const char *FaultCode(PictureFault fault) {
  switch (fault) {
    case PictureFault::kInvalidLayout:
      return "INVALID_LAYOUT";
    case PictureFault::kUnsupportedFormat:
      return "UNSUPPORTED_FORMAT";
    case PictureFault::kLayoutOutsideResource:
      return "LAYOUT_OUTSIDE_RESOURCE";
    case PictureFault::kUnstitchable:
      return "UNSTITCHABLE";
    case PictureFault::kMapFailed:
      return "MAP_FAILED";
  }
  return "MAP_FAILED";
}

// The caller's descriptors, duplicated: it may close them, and the system use the numbers for
// something else, before the mapping thread comes to them.
class OwnDescriptors {
 public:
  OwnDescriptors() = default;
  OwnDescriptors(OwnDescriptors &&) = default;
  ~OwnDescriptors() {
    for (const auto &[theirs, ours] : descriptors_) close(ours);
  }

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

// TypeScript has checked that it is a whole number in 0 … 2^53-1; a cast of anything else would be
// undefined.
uint64_t Whole(const Napi::Value &value) {
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= 0 && number < 9007199254740992.0)) {
    throw PictureError(PictureFault::kInvalidLayout, "a number of the layout is out of range");
  }
  return static_cast<uint64_t>(number);
}

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

// Extents come as a flat BigUint64Array of descriptor, offset, length.
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
    error.Value().Set("code", FaultCode(fault_));
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
    const auto reason = Napi::Error::New(env, error.what());
    reason.Value().Set("code", FaultCode(error.fault()));
    deferred.Reject(reason.Value());
    return deferred.Promise();
  }
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

}  // namespace

void PictureBinding::Register(Napi::Env env, Napi::Object exports) {
  const Napi::Function constructor =
      DefineClass(env, "NativePicture", {InstanceMethod<&PictureBinding::Close>("close")});
  env.GetInstanceData<AddonData>()->picture_class = Napi::Persistent(constructor);
  exports.Set("mapPicture", Napi::Function::New<MapPicture>(env, "mapPicture"));
  exports.Set("pixelFormats", Napi::Function::New<ListFormats>(env, "pixelFormats"));
  exports.Set("mappedRuns", Napi::Function::New<RunsInUse>(env, "mappedRuns"));
}

Napi::Object PictureBinding::Wrap(Napi::Env env, std::shared_ptr<Picture> picture) {
  const Napi::Object object = env.GetInstanceData<AddonData>()->picture_class.New({});
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
