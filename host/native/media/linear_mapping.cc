#include "linear_mapping.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <string>

#include "picture_error.h"

namespace vsockenc {
namespace {

constexpr uint64_t kMaxOffset = uint64_t{1} << 63;

std::atomic<size_t> runs_in_use{0};

uint64_t PageSize() {
  static const auto size = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return size;
}

std::string Describe(const Extent &extent) {
  return std::to_string(extent.length) + " bytes at offset " + std::to_string(extent.offset);
}

// Extents that follow each other in the same memory as one, and nothing beyond `bytes`.
std::vector<Extent> MergeRuns(std::span<const Extent> extents, uint64_t bytes) {
  std::vector<Extent> runs;
  uint64_t left = bytes;
  for (const Extent &extent : extents) {
    if (left == 0) break;
    const uint64_t length = std::min(extent.length, left);
    if (length == 0) continue;
    left -= length;
    if (!runs.empty() && runs.back().fd == extent.fd &&
        runs.back().offset + runs.back().length == extent.offset) {
      runs.back().length += length;
    } else {
      runs.push_back({extent.fd, extent.offset, length});
    }
  }
  if (left > 0) {
    throw PictureError(PictureFault::kLayoutOutsideResource,
                       "the extents have " + std::to_string(bytes - left) +
                           " bytes, the layout needs " + std::to_string(bytes));
  }
  return runs;
}

void CheckPages(std::span<const Extent> runs) {
  const uint64_t page = PageSize();
  for (size_t i = 0; i < runs.size(); ++i) {
    const bool last = i + 1 == runs.size();
    if (runs[i].offset % page != 0 || (!last && runs[i].length % page != 0)) {
      throw PictureError(PictureFault::kUnstitchable,
                         "run " + std::to_string(i) + " (" + Describe(runs[i]) +
                             ") does not begin and end at a page of " + std::to_string(page) +
                             " bytes, so it cannot be mapped next to the others");
    }
  }
}

// Everything is checked before anything is mapped.
void CheckMemories(std::span<const Extent> runs) {
  std::map<int, uint64_t> sizes;
  for (const Extent &run : runs) {
    auto known = sizes.find(run.fd);
    if (known == sizes.end()) {
      struct stat status;
      if (fstat(run.fd, &status) != 0) {
        throw PictureError(
            PictureFault::kMapFailed,
            std::string("the memory's descriptor is not usable: ") + strerror(errno));
      }
      // memfd, files of a tmpfs and POSIX shared memory are all regular files to fstat.
      if (!S_ISREG(status.st_mode)) {
        throw PictureError(PictureFault::kMapFailed,
                           "the memory's descriptor is neither a memfd nor a file");
      }
      known = sizes.emplace(run.fd, static_cast<uint64_t>(status.st_size)).first;
    }
    if (run.offset > known->second || run.length > known->second - run.offset) {
      throw PictureError(PictureFault::kMapFailed, "a run of " + Describe(run) +
                                                       " is not inside its memory of " +
                                                       std::to_string(known->second) + " bytes");
    }
  }
}

void TakeRuns(size_t count) {
  size_t used = runs_in_use.load();
  do {
    if (count > LinearMapping::kRunBudget - used) {
      throw PictureError(PictureFault::kUnstitchable,
                         "the picture consists of " + std::to_string(count) +
                             " runs of pages, and " + std::to_string(used) + " of at most " +
                             std::to_string(LinearMapping::kRunBudget) +
                             " are mapped already; attach fewer buffers at a time");
    }
  } while (!runs_in_use.compare_exchange_weak(used, used + count));
}

}  // namespace

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

LinearMapping::LinearMapping(std::span<const Extent> extents, uint64_t bytes) : bytes_(bytes) {
  TotalBytes(extents);
  if (bytes == 0 || bytes > kMaxBytes) {
    throw PictureError(PictureFault::kUnstitchable, "the layout needs " + std::to_string(bytes) +
                                                        " linear bytes; between 1 and " +
                                                        std::to_string(kMaxBytes) +
                                                        " can be mapped");
  }
  const std::vector<Extent> runs = MergeRuns(extents, bytes);
  CheckPages(runs);
  CheckMemories(runs);
  TakeRuns(runs.size());
  runs_ = runs.size();
  try {
    MapRuns(runs);
  } catch (...) {
    // The destructor of an object that was never finished does not run.
    if (data_ != nullptr) munmap(data_, reserved_);
    runs_in_use -= runs_;
    throw;
  }
}

void LinearMapping::MapRuns(std::span<const Extent> runs) {
  const uint64_t page = PageSize();
  reserved_ = (bytes_ + page - 1) / page * page;
  void *reserved =
      mmap(nullptr, reserved_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) {
    throw PictureError(
        PictureFault::kMapFailed,
        "no address space for " + std::to_string(reserved_) + " bytes: " + strerror(errno));
  }
  data_ = static_cast<uint8_t *>(reserved);
  uint64_t position = 0;
  for (const Extent &run : runs) {
    void *mapped = mmap(data_ + position, run.length, PROT_READ, MAP_SHARED | MAP_FIXED, run.fd,
                        static_cast<off_t>(run.offset));
    if (mapped == MAP_FAILED) {
      const int error = errno;
      // EINVAL is what a memory of huge pages answers to an offset that is none of its own pages.
      throw PictureError(error == EINVAL ? PictureFault::kUnstitchable : PictureFault::kMapFailed,
                         "a run of " + Describe(run) + " cannot be mapped: " + strerror(error) +
                             (error == EINVAL ? " (memory of huge pages?)" : ""));
    }
    position += run.length;
  }
}

LinearMapping::~LinearMapping() {
  munmap(data_, reserved_);
  runs_in_use -= runs_;
}

size_t LinearMapping::RunsInUse() {
  return runs_in_use.load();
}

}  // namespace vsockenc
