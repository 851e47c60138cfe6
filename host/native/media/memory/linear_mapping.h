#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "extents.h"
#include "pixel_memory.h"

namespace vsockenc {

// Scattered pages of shared memories as one linear, read-only range of this process.
//
// It reserves address space first, then maps each run of adjacent extents over its part of it with
// MAP_FIXED, so it never replaces another mapping. Each run costs the kernel one of its
// vm.max_map_count (65,530 by default) mappings, so all LinearMappings of the process share a
// budget of runs.
//
// Reading a page beyond the end of its file raises SIGBUS: extents are checked against the size of
// the file. The file must not shrink afterwards; QEMU seals its memfd against that.
class LinearMapping : public PixelMemory {
 public:
  // Limit of one mapping. A picture of 16384 x 16384 has 1 GiB; the rest allows for padded rows.
  static constexpr uint64_t kMaxBytes = uint64_t{4} << 30;

  // Maps the first `bytes` bytes (at least 1) of the extents. The descriptors may be closed
  // afterwards. Throws PictureError.
  LinearMapping(std::span<const Extent> extents, uint64_t bytes);
  ~LinearMapping() override;
  LinearMapping(const LinearMapping &) = delete;
  LinearMapping &operator=(const LinearMapping &) = delete;

  Tier tier() const override { return Tier::kResource; }
  uint64_t begin() const override { return 0; }
  uint64_t bytes() const override { return bytes_; }
  size_t runs() const override { return runs_; }
  uint64_t staging_bytes() const override { return 0; }
  const uint8_t *Read(uint8_t *) const override { return data_; }

  // Number of runs mapped in this process.
  static size_t RunsInUse();
  // Sets the limit of their sum from now on; existing mappings stay.
  static void SetRunBudget(size_t runs);

 private:
  void MapRuns(std::span<const Extent> runs);

  uint8_t *data_ = nullptr;
  uint64_t bytes_;
  uint64_t reserved_ = 0;
  size_t runs_ = 0;
};

}  // namespace vsockenc
