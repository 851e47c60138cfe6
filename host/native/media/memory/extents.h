#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

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

// "N bytes at offset N", for messages.
std::string Describe(const Extent &extent);

// Sum of the lengths. Throws PictureError when it, or the end of an extent, exceeds 2^63.
uint64_t TotalBytes(std::span<const Extent> extents);

// Bytes begin … end-1 of a resource, as runs: extents that follow each other in the same memory are
// one. TotalBytes has accepted the extents. Throws PictureError when they are shorter than `end`.
std::vector<Extent> MergeRuns(std::span<const Extent> extents, uint64_t begin, uint64_t end);

// Throws PictureError when a descriptor is no memory, or a run not inside it.
void CheckMemories(std::span<const Extent> runs);

}  // namespace vsockenc
