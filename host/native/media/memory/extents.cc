#include "extents.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>

#include "../../platform/platform.h"
#include "picture_error.h"

namespace vsockenc {
namespace {

constexpr uint64_t kMaxOffset = uint64_t{1} << 63;

uint64_t MemorySize(int fd) {
  platform::MemoryStatus status;
  if (platform::StatusOf(fd, &status) != 0) {
    throw PictureError(PictureFault::kMapFailed,
                       std::string("the memory's descriptor cannot be used: ") + strerror(errno));
  }
  if (!status.is_memory) {
    throw PictureError(PictureFault::kMapFailed,
                       "the memory's descriptor is neither shared memory nor a file");
  }
  return status.size;
}

}  // namespace

std::string Describe(const Extent &extent) {
  return std::to_string(extent.length) + " bytes at offset " + std::to_string(extent.offset);
}

uint64_t TotalBytes(std::span<const Extent> extents) {
  uint64_t total = 0;
  for (const Extent &extent : extents) {
    if (extent.offset > kMaxOffset || extent.length > kMaxOffset - extent.offset ||
        extent.length > kMaxOffset - total) {
      throw PictureError(PictureFault::kInvalidLayout,
                         "an extent of " + Describe(extent) + " goes beyond 2^63 bytes");
    }
    total += extent.length;
  }
  return total;
}

std::vector<Extent> MergeRuns(std::span<const Extent> extents, uint64_t begin, uint64_t end) {
  std::vector<Extent> runs;
  uint64_t position = 0;  // of the extent in the resource
  for (const Extent &extent : extents) {
    if (position >= end) break;
    const uint64_t from = std::max(begin, position);
    const uint64_t to = std::min(end, position + extent.length);
    if (from < to) {
      const uint64_t offset = extent.offset + (from - position);
      if (!runs.empty() && runs.back().fd == extent.fd &&
          runs.back().offset + runs.back().length == offset) {
        runs.back().length += to - from;
      } else {
        runs.push_back({extent.fd, offset, to - from});
      }
    }
    position += extent.length;
  }
  if (position < end) {
    throw PictureError(PictureFault::kLayoutOutsideResource,
                       "the extents have " + std::to_string(position) +
                           " bytes, the layout needs " + std::to_string(end));
  }
  return runs;
}

void CheckMemories(std::span<const Extent> runs) {
  std::map<int, uint64_t> sizes;
  for (const Extent &run : runs) {
    auto known = sizes.find(run.fd);
    if (known == sizes.end()) known = sizes.emplace(run.fd, MemorySize(run.fd)).first;
    if (run.offset > known->second || run.length > known->second - run.offset) {
      throw PictureError(PictureFault::kMapFailed, "a run of " + Describe(run) +
                                                       " is not inside its memory of " +
                                                       std::to_string(known->second) + " bytes");
    }
  }
}

}  // namespace vsockenc
