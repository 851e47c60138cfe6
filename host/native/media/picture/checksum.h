#pragma once

#include <cstdint>

#include "picture.h"

namespace vsockenc {

struct Checksum {
  uint32_t crc;    // CRC-32 (IEEE 802.3)
  uint64_t bytes;  // that went into it
};

// Of the visible pixels: each plane's rows without padding, top to bottom, plane after plane
// (Probed in proto/buffer.proto).
Checksum ChecksumOf(const Pixels &pixels);

}  // namespace vsockenc
