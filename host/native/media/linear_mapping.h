#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace vsockenc {

// A run of bytes of a shareable memory. The bytes of a resource are its extents, one after the
// other.
struct Extent {
  int fd;
  uint64_t offset;
  uint64_t length;
};

// Scattered pages of shared memories as one linear, read-only range of this process.
//
// Address space is reserved first, and each run of adjacent extents is then mapped over its part of
// it with MAP_FIXED, so no other mapping can be in the way and none is ever replaced. Each run
// costs the kernel one of its vm.max_map_count (65,530 by default) mappings, therefore all
// LinearMappings of the process share a budget of kRunBudget.
//
// A page beyond the end of its file raises SIGBUS when read: extents are checked against the size
// of the file. The file must not shrink afterwards; QEMU seals its memfd against that.
class LinearMapping {
 public:
  static constexpr size_t kRunBudget = 16384;
  // Of one mapping. A picture of 16384 x 16384 has 1 GiB; the rest is room for padded rows.
  static constexpr uint64_t kMaxBytes = uint64_t{4} << 30;

  // Maps the first `bytes` bytes (at least 1) of the extents. The descriptors may be closed
  // afterwards. Throws PictureError.
  LinearMapping(std::span<const Extent> extents, uint64_t bytes);
  ~LinearMapping();
  LinearMapping(const LinearMapping &) = delete;
  LinearMapping &operator=(const LinearMapping &) = delete;

  const uint8_t *data() const { return data_; }
  uint64_t bytes() const { return bytes_; }
  size_t runs() const { return runs_; }

  // Runs that are mapped in this process.
  static size_t RunsInUse();

 private:
  void MapRuns(std::span<const Extent> runs);

  uint8_t *data_ = nullptr;
  uint64_t bytes_;
  uint64_t reserved_ = 0;
  size_t runs_ = 0;
};

// Sum of the lengths. Throws PictureError when it, or the end of an extent, exceeds 2^63.
uint64_t TotalBytes(std::span<const Extent> extents);

}  // namespace vsockenc
