#include "file_window.h"

#include <sys/mman.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "platform.h"

namespace vsockenc {

namespace {

[[noreturn]] void ThrowErrno(const char *what) {
  throw std::system_error(errno, std::generic_category(), what);
}

}  // namespace

FileWindow::FileWindow(int fd, uint64_t offset, uint64_t length, int protection) {
  platform::MemoryStatus status;
  if (platform::StatusOf(fd, &status) != 0) ThrowErrno("fstat of a memory");
  const uint64_t mask = status.alignment - 1;
  const uint64_t start = offset & ~mask;
  const uint64_t lead = offset - start;
  length_ = static_cast<size_t>((lead + length + mask) & ~mask);
  base_ = mmap(nullptr, length_, protection, MAP_SHARED, fd, static_cast<off_t>(start));
  if (base_ == MAP_FAILED) ThrowErrno("mmap of a memory");
  data_ = static_cast<uint8_t *>(base_) + lead;
}

FileWindow::FileWindow(FileWindow &&other) noexcept
    : base_(std::exchange(other.base_, nullptr)), length_(other.length_), data_(other.data_) {}

FileWindow::~FileWindow() {
  if (base_ != nullptr) munmap(base_, length_);
}

}  // namespace vsockenc
