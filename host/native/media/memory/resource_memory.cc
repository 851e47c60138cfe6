#include "resource_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "staging.h"

namespace vsockenc {
namespace {

constexpr uint64_t kMaxOffset = uint64_t{1} << 63;

uint64_t MemorySize(int fd) {
  platform::MemoryStatus status;
  if (platform::StatusOf(fd, &status) != 0) {
    throw PictureError(PictureFault::kMapFailed,
                       "the memory's descriptor cannot be used: ", strerror(errno));
  }
  if (!status.is_memory) {
    throw PictureError(PictureFault::kMapFailed,
                       "the memory's descriptor is neither shared memory nor a file");
  }
  return status.size;
}

// For messages.
std::string Describe(const Extent &extent) {
  return std::to_string(extent.length) + " bytes at offset " + std::to_string(extent.offset);
}

// Bytes begin … end-1 of a resource, as runs: extents that follow each other in the same memory are
// one. TotalBytes has accepted the extents. Throws PictureError when they are shorter than `end`.
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
    throw PictureError(PictureFault::kLayoutOutsideResource, "the extents have ", position,
                       " bytes, the layout needs ", end);
  }
  return runs;
}

// Throws PictureError when a descriptor is no memory, or a run not inside it.
void CheckMemories(std::span<const Extent> runs) {
  std::map<int, uint64_t> sizes;
  for (const Extent &run : runs) {
    auto known = sizes.find(run.fd);
    if (known == sizes.end()) known = sizes.emplace(run.fd, MemorySize(run.fd)).first;
    if (run.offset > known->second || run.length > known->second - run.offset) {
      throw PictureError(PictureFault::kMapFailed, "a run of ", Describe(run),
                         " is not inside its memory of ", known->second, " bytes");
    }
  }
}

uint64_t PageSize() {
  static const auto size = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return size;
}

void CheckPages(std::span<const Extent> runs) {
  const uint64_t page = PageSize();
  for (size_t i = 0; i < runs.size(); ++i) {
    const bool last = i + 1 == runs.size();
    if (runs[i].offset % page != 0 || (!last && runs[i].length % page != 0)) {
      throw PictureError(PictureFault::kUnstitchable, "run ", i, " (", Describe(runs[i]),
                         ") does not begin and end at a page of ", page,
                         " bytes, so it cannot be mapped next to the others");
    }
  }
}

}  // namespace

uint64_t TotalBytes(std::span<const Extent> extents) {
  uint64_t total = 0;
  for (const Extent &extent : extents) {
    if (extent.offset > kMaxOffset || extent.length > kMaxOffset - extent.offset ||
        extent.length > kMaxOffset - total) {
      throw PictureError(PictureFault::kInvalidLayout, "an extent of ", Describe(extent),
                         " goes beyond 2^63 bytes");
    }
    total += extent.length;
  }
  return total;
}

LinearMapping::LinearMapping(std::span<const Extent> extents, uint64_t bytes,
                             std::shared_ptr<Budget> budget)
    : budget_(std::move(budget)), bytes_(bytes) {
  TotalBytes(extents);
  if (bytes == 0 || bytes > kMaxBytes) {
    throw PictureError(PictureFault::kUnstitchable, "the layout needs ", bytes,
                       " linear bytes; between 1 and ", kMaxBytes, " can be mapped");
  }
  const std::vector<Extent> runs = MergeRuns(extents, 0, bytes);
  // Everything is checked before anything is mapped.
  CheckMemories(runs);
  CheckPages(runs);
  budget_->TakeRuns(runs.size());
  runs_ = runs.size();
  try {
    MapRuns(runs);
  } catch (...) {
    // The destructor does not run for an object whose constructor throws.
    if (data_ != nullptr) munmap(data_, reserved_);
    budget_->GiveRuns(runs_);
    throw;
  }
}

void LinearMapping::MapRuns(std::span<const Extent> runs) {
  const uint64_t page = PageSize();
  reserved_ = (bytes_ + page - 1) / page * page;
  void *reserved =
      mmap(nullptr, reserved_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) {
    throw PictureError(PictureFault::kMapFailed, "no address space for ", reserved_,
                       " bytes: ", strerror(errno));
  }
  data_ = static_cast<uint8_t *>(reserved);
  uint64_t position = 0;
  for (const Extent &run : runs) {
    void *mapped = mmap(data_ + position, run.length, PROT_READ, MAP_SHARED | MAP_FIXED, run.fd,
                        static_cast<off_t>(run.offset));
    if (mapped == MAP_FAILED) {
      const int error = errno;
      // EINVAL: memory of huge pages, and the offset is not aligned to them. ENOMEM: the process
      // has vm.max_map_count mappings.
      throw PictureError(error == EINVAL || error == ENOMEM ? PictureFault::kUnstitchable
                                                            : PictureFault::kMapFailed,
                         "a run of ", Describe(run), " cannot be mapped: ", strerror(error),
                         (error == EINVAL ? " (memory of huge pages?)" : ""));
    }
    position += run.length;
  }
}

LinearMapping::~LinearMapping() {
  munmap(data_, reserved_);
  budget_->GiveRuns(runs_);
}

MemoryReader::MemoryReader(int fd, ByteRange range) : begin_(range.begin) {
  platform::MemoryStatus status;
  if (platform::StatusOf(fd, &status) == 0 && !status.is_file) {
    try {
      window_.emplace(fd, range.begin, range.end - range.begin, PROT_READ);
    } catch (const std::system_error &error) {
      throw PictureError(PictureFault::kMapFailed, "the memory cannot be mapped: ", error.what());
    }
    return;
  }
  fd_ = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (fd_ < 0) {
    throw PictureError(PictureFault::kMapFailed,
                       "cannot duplicate the memory's descriptor: ", strerror(errno));
  }
}

MemoryReader::~MemoryReader() {
  if (fd_ >= 0) close(fd_);
}

void MemoryReader::Read(uint64_t offset, uint64_t length, uint8_t *to) const {
  if (window_) {
    std::memcpy(to, window_->data() + (offset - begin_), length);
    return;
  }
  uint64_t done = 0;
  while (done < length) {
    const ssize_t count = pread(fd_, to + done, length - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      throw PictureError(
          PictureFault::kMapFailed, "a run of ", Describe({fd_, offset, length}),
          " cannot be read: ", (count == 0 ? "the memory has become shorter" : strerror(errno)));
    }
    done += static_cast<uint64_t>(count);
  }
}

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
