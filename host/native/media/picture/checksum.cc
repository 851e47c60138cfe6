#include "checksum.h"

#include <zlib.h>

namespace vsockenc {

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
