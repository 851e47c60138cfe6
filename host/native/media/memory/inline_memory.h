#pragma once

#include <cstring>
#include <span>

#include "pixel_memory.h"
#include "staging.h"

namespace vsockenc {

// The pixels of one frame that arrive in messages. Not synchronized: nothing may read during Write.
class InlineMemory : public PixelMemory {
 public:
  // Throws PictureError.
  explicit InlineMemory(uint64_t bytes) : data_(staging_.Reserve(bytes)), bytes_(bytes) {}

  // False when the memory does not have all of those bytes.
  bool Write(uint64_t offset, std::span<const uint8_t> bytes) {
    if (offset > bytes_ || bytes.size() > bytes_ - offset) return false;
    // An empty span may have a null address, which memcpy does not allow.
    if (!bytes.empty()) std::memcpy(data_ + offset, bytes.data(), bytes.size());
    return true;
  }

  Tier tier() const override { return Tier::kInline; }
  uint64_t begin() const override { return 0; }
  uint64_t bytes() const override { return bytes_; }
  size_t runs() const override { return 1; }
  uint64_t staging_bytes() const override { return 0; }
  const uint8_t *Read(uint8_t *) const override { return data_; }

 private:
  Staging staging_;
  uint8_t *data_;
  uint64_t bytes_;
};

}  // namespace vsockenc
