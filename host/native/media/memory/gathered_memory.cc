#include "gathered_memory.h"

#include <algorithm>

#include "staging.h"

namespace vsockenc {

GatheredMemory::GatheredMemory(std::span<const Extent> extents, ByteRange range) : range_(range) {
  TotalBytes(extents);
  Staging::CheckSize(bytes());
  runs_ = MergeRuns(extents, range.begin, range.end);
  CheckMemories(runs_);
  std::map<int, ByteRange> used;
  for (const Extent &run : runs_) {
    const ByteRange part{run.offset, run.offset + run.length};
    const auto [known, first] = used.try_emplace(run.fd, part);
    if (first) continue;
    known->second = {std::min(known->second.begin, part.begin),
                     std::max(known->second.end, part.end)};
  }
  for (const auto &[fd, part] : used) readers_.try_emplace(fd, fd, part);
}

const uint8_t *GatheredMemory::Read(uint8_t *staging) const {
  uint8_t *to = staging;
  for (const Extent &run : runs_) {
    readers_.at(run.fd).Read(run.offset, run.length, to);
    to += run.length;
  }
  return staging;
}

}  // namespace vsockenc
