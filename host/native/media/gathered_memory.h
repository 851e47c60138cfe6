#pragma once

#include <map>
#include <span>
#include <vector>

#include "extents.h"
#include "picture_layout.h"
#include "pixel_memory.h"

namespace vsockenc {

// Bytes of a resource whose runs cannot be mapped side by side: runs that begin or end within a
// page, memory of huge pages, or no mappings left. They are copied together at each Read.
//
// pread(2) rather than mappings of each run: it takes any offset and length, on huge pages too,
// costs no mapping, and memory that has been truncated meanwhile is an error instead of SIGBUS.
class GatheredMemory : public PixelMemory {
 public:
  // Gathers `range` of the resource. The descriptors may be closed afterwards. Throws PictureError.
  GatheredMemory(std::span<const Extent> extents, ByteRange range);
  ~GatheredMemory() override;
  GatheredMemory(const GatheredMemory &) = delete;
  GatheredMemory &operator=(const GatheredMemory &) = delete;

  Tier tier() const override { return Tier::kResourceGather; }
  uint64_t begin() const override { return range_.begin; }
  uint64_t bytes() const override { return range_.end - range_.begin; }
  size_t runs() const override { return runs_.size(); }
  uint64_t staging_bytes() const override { return bytes(); }
  const uint8_t *Read(uint8_t *staging) const override;

 private:
  void CloseDescriptors();

  ByteRange range_;
  std::map<int, int> descriptors_;  // the caller's, and ours
  std::vector<Extent> runs_;        // with our descriptors
};

}  // namespace vsockenc
