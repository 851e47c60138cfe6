#include "layout_binding.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace vsockenc {
namespace {

// The codes by which host/native/picture-error.ts finds the error class.
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
    case PictureFault::kStagingSpent:
      return "STAGING_SPENT";
    case PictureFault::kMapFailed:
      return "MAP_FAILED";
  }
  return "MAP_FAILED";
}

// TypeScript has checked that it is a whole number in 0 … 2^53-1; a cast of anything else would be
// undefined.
uint64_t Whole(const Napi::Value &value) {
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= 0 && number < 9007199254740992.0)) {
    throw PictureError(PictureFault::kInvalidLayout, "a number of the layout is out of range");
  }
  return static_cast<uint64_t>(number);
}

}  // namespace

OwnDescriptors::~OwnDescriptors() {
  for (const auto &[theirs, ours] : descriptors_) close(ours);
}

int OwnDescriptors::Duplicate(int theirs) {
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

void SetFaultCode(const Napi::Error &error, PictureFault fault) {
  error.Value().Set("code", FaultCode(fault));
}

Napi::Error PictureErrorObject(Napi::Env env, const PictureError &error) {
  const auto object = Napi::Error::New(env, error.what());
  SetFaultCode(object, error.fault());
  return object;
}

}  // namespace vsockenc
