#include "gathered_memory.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "picture_error.h"
#include "staging.h"

namespace vsockenc {
namespace {

void CopyRun(const Extent &run, uint8_t *to) {
  uint64_t done = 0;
  while (done < run.length) {
    const ssize_t count =
        pread(run.fd, to + done, run.length - done, static_cast<off_t>(run.offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      throw PictureError(PictureFault::kMapFailed,
                         "a run of " + Describe(run) + " cannot be read: " +
                             (count == 0 ? "the memory has become shorter" : strerror(errno)));
    }
    done += static_cast<uint64_t>(count);
  }
}

}  // namespace

GatheredMemory::GatheredMemory(std::span<const Extent> extents, ByteRange range) : range_(range) {
  TotalBytes(extents);
  Staging::CheckSize(bytes());
  runs_ = MergeRuns(extents, range.begin, range.end);
  CheckMemories(runs_);
  try {
    for (Extent &run : runs_) {
      auto known = descriptors_.find(run.fd);
      if (known == descriptors_.end()) {
        const int ours = fcntl(run.fd, F_DUPFD_CLOEXEC, 0);
        if (ours < 0) {
          throw PictureError(PictureFault::kMapFailed,
                             std::string("no descriptor left for the memory: ") + strerror(errno));
        }
        known = descriptors_.emplace(run.fd, ours).first;
      }
      run.fd = known->second;
    }
  } catch (...) {
    // The destructor of an object that was never finished does not run.
    CloseDescriptors();
    throw;
  }
}

const uint8_t *GatheredMemory::Read(uint8_t *staging) const {
  uint8_t *to = staging;
  for (const Extent &run : runs_) {
    CopyRun(run, to);
    to += run.length;
  }
  return staging;
}

void GatheredMemory::CloseDescriptors() {
  for (const auto &[theirs, ours] : descriptors_) close(ours);
}

GatheredMemory::~GatheredMemory() {
  CloseDescriptors();
}

}  // namespace vsockenc
