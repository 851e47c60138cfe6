#include "picture.h"

#include <zlib.h>

#include <algorithm>

#include "../memory/gathered_memory.h"
#include "../memory/linear_mapping.h"
#include "../memory/picture_error.h"

namespace vsockenc {
namespace {

std::unique_ptr<PixelMemory> Reach(std::span<const Extent> extents, uint64_t needed,
                                   ByteRange visible) {
  try {
    return std::make_unique<LinearMapping>(extents, needed);
  } catch (const PictureError &error) {
    if (error.fault() != PictureFault::kUnstitchable) throw;
  }
  return std::make_unique<GatheredMemory>(extents, visible);
}

}  // namespace

Picture::Picture(const PictureLayout &layout, const std::vector<std::vector<Extent>> &resources)
    : layout_(layout), format_(&CheckLayout(layout)) {
  std::vector<uint64_t> available;
  for (const auto &extents : resources) available.push_back(TotalBytes(extents));
  const std::vector<uint64_t> needed = NeededBytes(layout, *format_, available);
  for (size_t i = 0; i < resources.size(); ++i) {
    memories_.push_back(Reach(resources[i], needed[i], VisibleBytes(layout, *format_, i)));
  }
}

Picture::Picture(const PictureLayout &layout, std::unique_ptr<PixelMemory> memory,
                 const Surface *surface)
    : layout_(layout), format_(&CheckLayout(layout)), surface_(surface) {
  const uint64_t available = memory->bytes();
  NeededBytes(layout, *format_, {&available, 1});
  memories_.push_back(std::move(memory));
}

Picture::Picture(const PictureLayout &layout) : layout_(layout), format_(&CheckLayout(layout)) {
  const uint64_t most = Staging::kMaxBytes;
  const std::vector<uint64_t> needed = NeededBytes(layout, *format_, {&most, 1});
  auto memory = std::make_unique<InlineMemory>(needed[0]);
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
  uint8_t *free = staged == 0 ? nullptr : staging.Reserve(staged);
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
