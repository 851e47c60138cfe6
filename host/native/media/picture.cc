#include "picture.h"

#include <algorithm>
#include <string>

#include "picture_error.h"

namespace vsockenc {
namespace {

[[noreturn]] void Invalid(const std::string &message) {
  throw PictureError(PictureFault::kInvalidLayout, message);
}

void CheckDimension(const char *field, uint64_t value) {
  if (value < 1 || value > Picture::kMaxDimension) {
    Invalid(std::string(field) + " is " + std::to_string(value) + ", not between 1 and " +
            std::to_string(Picture::kMaxDimension));
  }
}

void CheckVisible(const PictureLayout &layout) {
  const Rectangle &visible = layout.visible;
  CheckDimension("visible.width", visible.width);
  CheckDimension("visible.height", visible.height);
  if (visible.width > layout.width || visible.x > layout.width - visible.width ||
      visible.height > layout.height || visible.y > layout.height - visible.height) {
    Invalid("the visible rectangle, " + std::to_string(visible.width) + "x" +
            std::to_string(visible.height) + " at " + std::to_string(visible.x) + "," +
            std::to_string(visible.y) + ", is not inside the picture of " +
            std::to_string(layout.width) + "x" + std::to_string(layout.height));
  }
}

const PixelFormat *CheckFormat(const PictureLayout &layout) {
  const PixelFormat *format =
      layout.fourcc > UINT32_MAX ? nullptr : FindPixelFormat(static_cast<uint32_t>(layout.fourcc));
  if (format == nullptr) {
    std::string known;
    for (const PixelFormat &one : PixelFormats()) {
      known += (known.empty() ? "" : ", ") + std::string(one.name);
    }
    throw PictureError(
        PictureFault::kUnsupportedFormat,
        "the format with fourcc " + std::to_string(layout.fourcc) + " is none of " + known);
  }
  if (layout.planes.size() != format->planes) {
    throw PictureError(PictureFault::kUnsupportedFormat,
                       std::string(format->name) + " has " + std::to_string(format->planes) +
                           " plane(s), the layout has " + std::to_string(layout.planes.size()));
  }
  return format;
}

// The byte after the plane's last pixel. No step can overflow: stride and height are bounded, and
// the offset is compared with what the resource has before anything is added to it.
uint64_t PlaneEnd(const PictureLayout &layout, const PlaneLayout &plane, const PixelFormat &format,
                  uint64_t available) {
  const uint64_t row = layout.width * format.bytes_per_pixel;
  if (plane.stride < row || plane.stride > Picture::kMaxStride) {
    Invalid("stride is " + std::to_string(plane.stride) + ", not between the " +
            std::to_string(row) + " bytes of a row and " + std::to_string(Picture::kMaxStride));
  }
  // The last row need not be padded.
  const uint64_t size = (layout.height - 1) * plane.stride + row;
  if (plane.offset > available || size > available - plane.offset) {
    throw PictureError(PictureFault::kLayoutOutsideResource,
                       "the plane has " + std::to_string(size) + " bytes from byte " +
                           std::to_string(plane.offset) + " on, the resource has only " +
                           std::to_string(available));
  }
  return plane.offset + size;
}

}  // namespace

Picture::Picture(const PictureLayout &layout, const std::vector<std::vector<Extent>> &resources)
    : layout_(layout) {
  CheckDimension("width", layout.width);
  CheckDimension("height", layout.height);
  CheckVisible(layout);
  format_ = CheckFormat(layout);

  std::vector<uint64_t> needed(resources.size(), 0);
  for (const PlaneLayout &plane : layout.planes) {
    if (plane.resource >= resources.size()) Invalid("a plane names no resource");
    uint64_t &end = needed[plane.resource];
    end = std::max(end, PlaneEnd(layout, plane, *format_, TotalBytes(resources[plane.resource])));
  }
  for (size_t i = 0; i < resources.size(); ++i) {
    if (needed[i] == 0) Invalid("resource " + std::to_string(i) + " is used by no plane");
    mappings_.push_back(std::make_unique<LinearMapping>(resources[i], needed[i]));
  }
}

Picture::~Picture() {
  mappings_.clear();
  if (on_unmapped_) on_unmapped_();
}

PackedPixels Picture::pixels() const {
  const PlaneLayout &plane = layout_.planes.front();
  const Rectangle &visible = layout_.visible;
  return {
      .data = mappings_[plane.resource]->data() + plane.offset + visible.y * plane.stride +
              visible.x * format_->bytes_per_pixel,
      .stride = static_cast<int>(plane.stride),
      .width = static_cast<int>(visible.width),
      .height = static_cast<int>(visible.height),
  };
}

size_t Picture::runs() const {
  size_t runs = 0;
  for (const auto &mapping : mappings_) runs += mapping->runs();
  return runs;
}

uint64_t Picture::bytes() const {
  uint64_t bytes = 0;
  for (const auto &mapping : mappings_) bytes += mapping->bytes();
  return bytes;
}

}  // namespace vsockenc
