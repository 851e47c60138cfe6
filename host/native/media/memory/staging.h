#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "budget.h"
#include "pixel_memory.h"

namespace vsockenc {

// Memory for pixels that cannot be read in place: a gathered picture is copied together in it, and
// inline pixels arrive in it.
//
// Guests decide how much of it is needed, so each area is limited, and all areas of a VM are by its
// Budget. It starts as zeros: unwritten bytes hold no data of the host.
class Staging {
 public:
  // Limit of one area: H.264 and H.265 allow 139,264 macroblocks a picture, which is 143 MB at four
  // bytes a pixel; the rest allows for padded rows.
  static constexpr uint64_t kMaxBytes = uint64_t{256} << 20;

  Staging() = default;
  ~Staging();
  Staging(const Staging &) = delete;
  Staging &operator=(const Staging &) = delete;

  // Returns at least `bytes` bytes of the budget's, at an address that stays until more are
  // reserved, or for another budget; their content may be lost. Throws PictureError.
  uint8_t *Reserve(uint64_t bytes, const std::shared_ptr<Budget> &budget);

  // Throws PictureError if the size exceeds the limit of one area.
  static void CheckSize(uint64_t bytes);

 private:
  void Free();

  std::shared_ptr<Budget> budget_;
  uint8_t *data_ = nullptr;
  uint64_t bytes_ = 0;
};

// The pixels of one frame that arrive in messages. Not synchronized: nothing may read during Write.
class InlineMemory : public PixelMemory {
 public:
  // Throws PictureError.
  InlineMemory(uint64_t bytes, const std::shared_ptr<Budget> &budget)
      : data_(staging_.Reserve(bytes, budget)), bytes_(bytes) {}

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
