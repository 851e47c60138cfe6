#include "gathered_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>

#include "picture_error.h"
#include "staging.h"

namespace vsockenc {

MemoryReader::MemoryReader(int fd, ByteRange range) : begin_(range.begin) {
  platform::MemoryStatus status;
  if (platform::StatusOf(fd, &status) == 0 && !status.is_file) {
    try {
      window_.emplace(fd, range.begin, range.end - range.begin, PROT_READ);
    } catch (const std::system_error &error) {
      throw PictureError(PictureFault::kMapFailed,
                         std::string("the memory cannot be mapped: ") + error.what());
    }
    return;
  }
  fd_ = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (fd_ < 0) {
    throw PictureError(PictureFault::kMapFailed,
                       std::string("cannot duplicate the memory's descriptor: ") + strerror(errno));
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
      throw PictureError(PictureFault::kMapFailed,
                         "a run of " + Describe({fd_, offset, length}) + " cannot be read: " +
                             (count == 0 ? "the memory has become shorter" : strerror(errno)));
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
