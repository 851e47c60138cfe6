#pragma once

#include <cstddef>
#include <cstdint>

namespace vsockenc {

// How the host reaches the pixels: SourceTier of proto/buffer.proto.
enum class Tier { kResource, kResourceGather, kInline };

// The bytes of one resource of a picture, from some byte on.
class PixelMemory {
 public:
  virtual ~PixelMemory() = default;

  virtual Tier tier() const = 0;
  // The byte of the resource at the address that Read() returns.
  virtual uint64_t begin() const = 0;
  // Bytes from there on.
  virtual uint64_t bytes() const = 0;
  // Number of contiguous runs of memory that they consist of.
  virtual size_t runs() const = 0;
  // Bytes of staging memory that Read needs.
  virtual uint64_t staging_bytes() const = 0;
  // The bytes as they are now, linear; in `staging` if staging_bytes() is not 0. May be called on
  // several threads at a time, each with staging of its own. Throws PictureError.
  virtual const uint8_t *Read(uint8_t *staging) const = 0;
};

}  // namespace vsockenc
