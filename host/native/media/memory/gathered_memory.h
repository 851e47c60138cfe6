#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "../../platform/platform.h"
#include "extents.h"
#include "pixel_memory.h"

namespace vsockenc {

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
