#include "linear_mapping.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>

#include "picture_error.h"

namespace vsockenc {
namespace {

std::atomic<size_t> runs_in_use{0};
// A quarter of Linux's default limit for a process; SetRunBudget changes it.
std::atomic<size_t> run_budget{16384};

uint64_t PageSize() {
  static const auto size = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return size;
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

void TakeRuns(size_t count) {
  const size_t budget = run_budget.load();
  size_t used = runs_in_use.load();
  do {
    if (used + count > budget) {
      throw PictureError(PictureFault::kUnstitchable,
                         "the picture consists of " + std::to_string(count) +
                             " runs of pages, and " + std::to_string(used) + " of at most " +
                             std::to_string(budget) +
                             " are mapped already; attach fewer buffers at a time");
    }
  } while (!runs_in_use.compare_exchange_weak(used, used + count));
}

}  // namespace

LinearMapping::LinearMapping(std::span<const Extent> extents, uint64_t bytes) : bytes_(bytes) {
  TotalBytes(extents);
  if (bytes == 0 || bytes > kMaxBytes) {
    throw PictureError(PictureFault::kUnstitchable, "the layout needs " + std::to_string(bytes) +
                                                        " linear bytes; between 1 and " +
                                                        std::to_string(kMaxBytes) +
                                                        " can be mapped");
  }
  const std::vector<Extent> runs = MergeRuns(extents, 0, bytes);
  // Everything is checked before anything is mapped.
  CheckMemories(runs);
  CheckPages(runs);
  TakeRuns(runs.size());
  runs_ = runs.size();
  try {
    MapRuns(runs);
  } catch (...) {
    // The destructor does not run for an object whose constructor throws.
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
      // EINVAL: memory of huge pages, and the offset is not aligned to them. ENOMEM: the process
      // has vm.max_map_count mappings.
      throw PictureError(error == EINVAL || error == ENOMEM ? PictureFault::kUnstitchable
                                                            : PictureFault::kMapFailed,
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

void LinearMapping::SetRunBudget(size_t runs) {
  run_budget = runs;
}

}  // namespace vsockenc
