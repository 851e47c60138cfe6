#include "picture_layout.h"

#include <algorithm>
#include <string>

#include "../memory/picture_error.h"

namespace vsockenc {
namespace {

[[noreturn]] void Invalid(const std::string &message) {
  throw PictureError(PictureFault::kInvalidLayout, message);
}

void CheckDimension(const char *field, uint64_t value) {
  if (value < 1 || value > kMaxDimension) {
    Invalid(std::string(field) + " is " + std::to_string(value) + ", not between 1 and " +
            std::to_string(kMaxDimension));
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

const PixelFormat &CheckFormat(const PictureLayout &layout) {
  const PixelFormat *format =
      layout.fourcc > UINT32_MAX ? nullptr : FindPixelFormat(static_cast<uint32_t>(layout.fourcc));
  if (format == nullptr) {
    std::string known;
    for (const PixelFormat &one : PixelFormats()) {
      known += (known.empty() ? "" : ", ") + std::string(one.name);
    }
    throw PictureError(PictureFault::kUnsupportedFormat, "unsupported format with fourcc " +
                                                             std::to_string(layout.fourcc) +
                                                             ", expected one of " + known);
  }
  if (layout.planes.size() != format->planes) {
    throw PictureError(PictureFault::kUnsupportedFormat,
                       std::string(format->name) + " has " + std::to_string(format->planes) +
                           " plane(s), the layout has " + std::to_string(layout.planes.size()));
  }
  return *format;
}

// A rectangle that begins between two chroma samples would shift its colours by half a sample.
void CheckChromaBegin(const PictureLayout &layout, const PixelFormat &format) {
  for (size_t i = 0; i < format.planes; ++i) {
    const PlaneShape &shape = format.shapes[i];
    if (layout.visible.x % shape.horizontal != 0 || layout.visible.y % shape.vertical != 0) {
      Invalid("the visible rectangle begins at " + std::to_string(layout.visible.x) + "," +
              std::to_string(layout.visible.y) + "; in " + format.name +
              " it has to begin at even pixels, where a chroma sample does");
    }
  }
}

std::string PlaneName(const PixelFormat &format, size_t plane) {
  return format.planes == 1 ? "" : " of plane " + std::to_string(plane);
}

// The byte after the plane's last pixel. Nothing can overflow: stride and height are limited, and
// the offset is compared with the resource's size before anything is added to it.
uint64_t PlaneEnd(const PictureLayout &layout, const PixelFormat &format, size_t index,
                  uint64_t available) {
  const PlaneLayout &plane = layout.planes[index];
  const PlaneShape &shape = format.shapes[index];
  // The last row need not be padded.
  const uint64_t size =
      (shape.Rows(layout.height) - 1) * plane.stride + shape.RowBytes(layout.width);
  if (plane.offset > available || size > available - plane.offset) {
    throw PictureError(
        PictureFault::kLayoutOutsideResource,
        "the plane" + (format.planes == 1 ? std::string() : " " + std::to_string(index)) + " has " +
            std::to_string(size) + " bytes from byte " + std::to_string(plane.offset) +
            " on, the resource has only " + std::to_string(available));
  }
  return plane.offset + size;
}

}  // namespace

const PixelFormat &CheckLayout(const PictureLayout &layout) {
  CheckDimension("width", layout.width);
  CheckDimension("height", layout.height);
  CheckVisible(layout);
  const PixelFormat &format = CheckFormat(layout);
  CheckChromaBegin(layout, format);
  for (size_t i = 0; i < format.planes; ++i) {
    const uint64_t row = format.shapes[i].RowBytes(layout.width);
    const uint64_t stride = layout.planes[i].stride;
    if (stride < row || stride > kMaxStride) {
      Invalid("stride" + PlaneName(format, i) + " is " + std::to_string(stride) +
              ", not between the " + std::to_string(row) + " bytes of a row and " +
              std::to_string(kMaxStride));
    }
  }
  return format;
}

std::vector<uint64_t> NeededBytes(const PictureLayout &layout, const PixelFormat &format,
                                  std::span<const uint64_t> available) {
  std::vector<uint64_t> needed(available.size(), 0);
  for (size_t i = 0; i < layout.planes.size(); ++i) {
    const size_t resource = layout.planes[i].resource;
    if (resource >= available.size()) Invalid("a plane names no resource");
    needed[resource] = std::max(needed[resource], PlaneEnd(layout, format, i, available[resource]));
  }
  for (size_t i = 0; i < needed.size(); ++i) {
    if (needed[i] == 0) Invalid("resource " + std::to_string(i) + " is used by no plane");
  }
  return needed;
}

uint64_t FirstVisible(const PictureLayout &layout, const PixelFormat &format, size_t plane) {
  const PlaneShape &shape = format.shapes[plane];
  return layout.planes[plane].offset +
         layout.visible.y / shape.vertical * layout.planes[plane].stride +
         layout.visible.x / shape.horizontal * shape.bytes;
}

ByteRange VisibleBytes(const PictureLayout &layout, const PixelFormat &format, size_t resource) {
  ByteRange range{UINT64_MAX, 0};
  for (size_t i = 0; i < layout.planes.size(); ++i) {
    if (layout.planes[i].resource != resource) continue;
    const PlaneShape &shape = format.shapes[i];
    const uint64_t first = FirstVisible(layout, format, i);
    range.begin = std::min(range.begin, first);
    range.end = std::max(range.end,
                         first + (shape.Rows(layout.visible.height) - 1) * layout.planes[i].stride +
                             shape.RowBytes(layout.visible.width));
  }
  return range;
}

}  // namespace vsockenc
