#include "memory_reader.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>

#include "../../platform/platform.h"
#include "extents.h"
#include "picture_error.h"

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
                       std::string("no descriptor left for the memory: ") + strerror(errno));
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

}  // namespace vsockenc
