#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "../../platform/platform.h"
#include "budget.h"
#include "pixel_memory.h"

namespace vsockenc {

// A run of bytes of a shareable memory. The bytes of a resource are its extents, one after the
// other.
struct Extent {
  int fd;
  uint64_t offset;
  uint64_t length;
};

// Bytes begin … end-1 of a resource.
struct ByteRange {
  uint64_t begin;
  uint64_t end;
};

// Sum of the lengths. Throws PictureError when it, or the end of an extent, exceeds 2^63.
uint64_t TotalBytes(std::span<const Extent> extents);

// Scattered pages of shared memories as one linear, read-only range of this process.
//
// It reserves address space first, then maps each run of adjacent extents over its part of it with
// MAP_FIXED, so it never replaces another mapping. Each run costs the kernel one of its
// vm.max_map_count (65,530 by default) mappings, so a VM's LinearMappings have a Budget.
//
// Reading a page beyond the end of its file raises SIGBUS: extents are checked against the size of
// the file. The file must not shrink afterwards; QEMU seals its memfd against that.
class LinearMapping : public PixelMemory {
 public:
  // Limit of one mapping. A picture of 16384 x 16384 has 1 GiB; the rest allows for padded rows.
  static constexpr uint64_t kMaxBytes = uint64_t{4} << 30;

  // Maps the first `bytes` bytes (at least 1) of the extents. The descriptors may be closed
  // afterwards. Throws PictureError.
  LinearMapping(std::span<const Extent> extents, uint64_t bytes, std::shared_ptr<Budget> budget);
  ~LinearMapping() override;
  LinearMapping(const LinearMapping &) = delete;
  LinearMapping &operator=(const LinearMapping &) = delete;

  Tier tier() const override { return Tier::kResource; }
  uint64_t begin() const override { return 0; }
  uint64_t bytes() const override { return bytes_; }
  size_t runs() const override { return runs_; }
  uint64_t staging_bytes() const override { return 0; }
  const uint8_t *Read(uint8_t *) const override { return data_; }

 private:
  void MapRuns(std::span<const Extent> runs);

  std::shared_ptr<Budget> budget_;
  uint8_t *data_ = nullptr;
  uint64_t bytes_;
  uint64_t reserved_ = 0;
  size_t runs_ = 0;
};

// Copies bytes out of one shareable memory.
//
// It uses pread(2) if the memory is a file, as all are on Linux: pread takes any offset and length,
// also on huge pages, needs no mapping, and reports truncated memory as an error instead of SIGBUS.
// Otherwise it uses one mapping: POSIX shared memory of Darwin can only be mapped, and cannot be
// truncated (xnu, bsd/kern/posix_shm.c, pshm_truncate).
class MemoryReader {
 public:
  // For the bytes `range` of the memory, which has them. The descriptor may be closed
  // afterwards. Throws PictureError.
  MemoryReader(int fd, ByteRange range);
  ~MemoryReader();
  MemoryReader(const MemoryReader &) = delete;
  MemoryReader &operator=(const MemoryReader &) = delete;

  // Copies bytes of the range. Any thread. Throws PictureError.
  void Read(uint64_t offset, uint64_t length, uint8_t *to) const;

 private:
  uint64_t begin_;
  int fd_ = -1;
  std::optional<FileWindow> window_;
};

// Bytes of a resource whose runs cannot be mapped side by side: runs that are not aligned to the
// host's pages (the guest's have 4 KiB, a Mac's 16), huge pages, or no mappings left. Each Read
// copies them together.
class GatheredMemory : public PixelMemory {
 public:
  // Gathers `range` of the resource. The descriptors may be closed afterwards. Throws PictureError.
  GatheredMemory(std::span<const Extent> extents, ByteRange range);

  Tier tier() const override { return Tier::kResourceGather; }
  uint64_t begin() const override { return range_.begin; }
  uint64_t bytes() const override { return range_.end - range_.begin; }
  size_t runs() const override { return runs_.size(); }
  uint64_t staging_bytes() const override { return bytes(); }
  const uint8_t *Read(uint8_t *staging) const override;

 private:
  ByteRange range_;
  std::vector<Extent> runs_;
  std::map<int, MemoryReader> readers_;  // by the descriptors of the runs, which may be closed
};

}  // namespace vsockenc
