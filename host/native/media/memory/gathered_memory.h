#pragma once

#include <map>
#include <span>
#include <vector>

#include "extents.h"
#include "memory_reader.h"
#include "pixel_memory.h"

namespace vsockenc {

// Bytes of a resource whose runs cannot be mapped side by side: runs that begin or end within a
// page of this host (the guest's pages are of 4 KiB, a Mac's of 16), memory of huge pages, or no
// mappings left. They are copied together at each Read.
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
