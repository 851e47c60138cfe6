#include "picture.h"

#include <libyuv/convert.h>
#include <libyuv/convert_argb.h>
#include <libyuv/convert_from_argb.h>
#include <zlib.h>

#include <algorithm>
#include <string>

#include "../../../../proto/gen/c/vsockenc-formats.h"

namespace vsockenc {
namespace {

struct Reading {
  PixelKind kind;
  RgbConversions rgb;
};

// The conversion of each format in the generated table; a missing entry does not compile.
//
// libyuv names a format by the little-endian word, as DRM does (ARGB is the word 0xAARRGGBB),
// GStreamer by the bytes in memory (BGRA). Alpha is not encoded, so both formats of a pair are the
// same.
constexpr Reading kBGRx{PixelKind::kRgb, {libyuv::ARGBToI420, libyuv::ARGBToJ420, nullptr}};
constexpr Reading kBGRA = kBGRx;
constexpr Reading kRGBx{PixelKind::kRgb, {libyuv::ABGRToI420, libyuv::ABGRToJ420, nullptr}};
constexpr Reading kRGBA = kRGBx;
constexpr Reading kxRGB{PixelKind::kRgb, {libyuv::BGRAToI420, nullptr, libyuv::BGRAToARGB}};
constexpr Reading kARGB = kxRGB;
constexpr Reading kxBGR{PixelKind::kRgb, {libyuv::RGBAToI420, nullptr, libyuv::RGBAToARGB}};
constexpr Reading kABGR = kxBGR;
constexpr Reading kNV12{PixelKind::kNv12, {}};
constexpr Reading kI420{PixelKind::kI420, {}};

#define FORMAT(name, fourcc, planes, b0, h0, v0, b1, h1, v1, b2, h2, v2)                      \
  PixelFormat{fourcc,       #name,      planes, {{{b0, h0, v0}, {b1, h1, v1}, {b2, h2, v2}}}, \
              k##name.kind, k##name.rgb},
constexpr PixelFormat kFormats[] = {VSOCKENC_PIXEL_FORMATS(FORMAT)};
#undef FORMAT

template <typename... Parts>
[[noreturn]] void Invalid(const Parts &...parts) {
  throw PictureError(PictureFault::kInvalidLayout, parts...);
}

void CheckDimension(const char *field, uint64_t value) {
  if (value < 1 || value > kMaxDimension) {
    Invalid(field, " is ", value, ", not between 1 and ", kMaxDimension);
  }
}

void CheckVisible(const PictureLayout &layout) {
  const Rectangle &visible = layout.visible;
  CheckDimension("visible.width", visible.width);
  CheckDimension("visible.height", visible.height);
  if (visible.width > layout.width || visible.x > layout.width - visible.width ||
      visible.height > layout.height || visible.y > layout.height - visible.height) {
    Invalid("the visible rectangle, ", visible.width, "x", visible.height, " at ", visible.x, ",",
            visible.y, ", is not inside the picture of ", layout.width, "x", layout.height);
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
    throw PictureError(PictureFault::kUnsupportedFormat, "unsupported format with fourcc ",
                       layout.fourcc, ", expected one of ", known);
  }
  if (layout.planes.size() != format->planes) {
    throw PictureError(PictureFault::kUnsupportedFormat, format->name, " has ", format->planes,
                       " plane(s), the layout has ", layout.planes.size());
  }
  return *format;
}

// A rectangle that begins between two chroma samples would shift its colours by half a sample.
void CheckChromaBegin(const PictureLayout &layout, const PixelFormat &format) {
  for (size_t i = 0; i < format.planes; ++i) {
    const PlaneShape &shape = format.shapes[i];
    if (layout.visible.x % shape.horizontal != 0 || layout.visible.y % shape.vertical != 0) {
      Invalid("the visible rectangle begins at ", layout.visible.x, ",", layout.visible.y, "; in ",
              format.name, " it has to begin at even pixels, where a chroma sample does");
    }
  }
}

// `before` and the plane's index, or nothing if the format has one plane.
std::string PlaneName(const PixelFormat &format, const char *before, size_t plane) {
  return format.planes == 1 ? std::string() : std::string(before).append(std::to_string(plane));
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
    throw PictureError(PictureFault::kLayoutOutsideResource, "the plane",
                       PlaneName(format, " ", index), " has ", size, " bytes from byte ",
                       plane.offset, " on, the resource has only ", available);
  }
  return plane.offset + size;
}

std::unique_ptr<PixelMemory> Reach(std::span<const Extent> extents, uint64_t needed,
                                   ByteRange visible, const std::shared_ptr<Budget> &budget) {
  try {
    return std::make_unique<LinearMapping>(extents, needed, budget);
  } catch (const PictureError &error) {
    if (error.fault() != PictureFault::kUnstitchable) throw;
  }
  return std::make_unique<GatheredMemory>(extents, visible);
}

}  // namespace

std::span<const PixelFormat> PixelFormats() {
  return kFormats;
}

const PixelFormat *FindPixelFormat(uint32_t fourcc) {
  const auto *found = std::ranges::find(kFormats, fourcc, &PixelFormat::fourcc);
  return found == std::end(kFormats) ? nullptr : found;
}

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
      Invalid("stride", PlaneName(format, " of plane ", i), " is ", stride, ", not between the ",
              row, " bytes of a row and ", kMaxStride);
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
    if (needed[i] == 0) Invalid("resource ", i, " is used by no plane");
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

Picture::Picture(const PictureLayout &layout, const std::vector<std::vector<Extent>> &resources,
                 std::shared_ptr<Budget> budget)
    : layout_(layout), format_(&CheckLayout(layout)), budget_(std::move(budget)) {
  std::vector<uint64_t> available;
  for (const auto &extents : resources) available.push_back(TotalBytes(extents));
  const std::vector<uint64_t> needed = NeededBytes(layout, *format_, available);
  for (size_t i = 0; i < resources.size(); ++i) {
    memories_.push_back(Reach(resources[i], needed[i], VisibleBytes(layout, *format_, i), budget_));
  }
}

Picture::Picture(const PictureLayout &layout, std::unique_ptr<PixelMemory> memory,
                 const Surface *surface, std::shared_ptr<Budget> budget)
    : layout_(layout),
      format_(&CheckLayout(layout)),
      budget_(std::move(budget)),
      surface_(surface) {
  const uint64_t available = memory->bytes();
  NeededBytes(layout, *format_, {&available, 1});
  memories_.push_back(std::move(memory));
}

Picture::Picture(const PictureLayout &layout, std::shared_ptr<Budget> budget)
    : layout_(layout), format_(&CheckLayout(layout)), budget_(std::move(budget)) {
  const uint64_t most = Staging::kMaxBytes;
  const std::vector<uint64_t> needed = NeededBytes(layout, *format_, {&most, 1});
  auto memory = std::make_unique<InlineMemory>(needed[0], budget_);
  inline_ = memory.get();
  memories_.push_back(std::move(memory));
}

Picture::~Picture() {
  memories_.clear();
  if (on_unmapped_) on_unmapped_();
}

Pixels Picture::Read(Staging &staging) const {
  uint64_t staged = 0;
  for (const auto &memory : memories_) staged += memory->staging_bytes();
  uint8_t *free = staged == 0 ? nullptr : staging.Reserve(staged, budget_);
  std::vector<const uint8_t *> begins;
  for (const auto &memory : memories_) {
    begins.push_back(memory->Read(free));
    if (memory->staging_bytes() > 0) free += memory->staging_bytes();
  }
  Pixels pixels{
      .format = format_,
      .planes = {},
      .width = static_cast<int>(layout_.visible.width),
      .height = static_cast<int>(layout_.visible.height),
  };
  for (size_t i = 0; i < format_->planes; ++i) {
    const PlaneLayout &plane = layout_.planes[i];
    pixels.planes[i] = {begins[plane.resource] + (FirstVisible(layout_, *format_, i) -
                                                  memories_[plane.resource]->begin()),
                        static_cast<int>(plane.stride)};
  }
  return pixels;
}

bool Picture::Write(uint64_t offset, std::span<const uint8_t> bytes) {
  return inline_ != nullptr && inline_->Write(offset, bytes);
}

Tier Picture::tier() const {
  const bool gathers = std::ranges::any_of(
      memories_, [](const auto &memory) { return memory->tier() == Tier::kResourceGather; });
  return gathers ? Tier::kResourceGather : memories_.front()->tier();
}

size_t Picture::runs() const {
  size_t runs = 0;
  for (const auto &memory : memories_) runs += memory->runs();
  return runs;
}

uint64_t Picture::bytes() const {
  uint64_t bytes = 0;
  for (const auto &memory : memories_) bytes += memory->bytes();
  return bytes;
}

Checksum ChecksumOf(const Pixels &pixels) {
  uLong crc = crc32(0, nullptr, 0);
  uint64_t bytes = 0;
  for (size_t i = 0; i < pixels.format->planes; ++i) {
    const PlaneShape &shape = pixels.format->shapes[i];
    const uint64_t row = shape.RowBytes(static_cast<uint64_t>(pixels.width));
    const uint64_t rows = shape.Rows(static_cast<uint64_t>(pixels.height));
    for (uint64_t y = 0; y < rows; ++y) {
      const uint8_t *from =
          pixels.planes[i].data + y * static_cast<uint64_t>(pixels.planes[i].stride);
      crc = crc32(crc, from, static_cast<uInt>(row));
    }
    bytes += row * rows;
  }
  return {static_cast<uint32_t>(crc), bytes};
}

}  // namespace vsockenc
