#pragma once

#include <cstdint>
#include <optional>

#include "../../platform/file_window.h"
#include "extents.h"

namespace vsockenc {

// Copies bytes out of one shareable memory.
//
// With pread(2) where the memory is a file, as everything is on Linux: it takes any offset and
// length, on huge pages too, costs no mapping, and memory that has been truncated meanwhile is an
// error instead of SIGBUS. Through one mapping where it is not: POSIX shared memory of Darwin can
// only be mapped, and cannot be truncated (xnu, bsd/kern/posix_shm.c, pshm_truncate).
class MemoryReader {
 public:
  // Of the bytes `range` of the memory, which lie inside it. The descriptor may be closed
  // afterwards. Throws PictureError.
  MemoryReader(int fd, ByteRange range);
  ~MemoryReader();
  MemoryReader(const MemoryReader &) = delete;
  MemoryReader &operator=(const MemoryReader &) = delete;

  // Copies bytes of the range. Any thread. Throws PictureError.
  void Read(uint64_t offset, uint64_t length, uint8_t *to) const;

 private:
  uint64_t begin_;
  int fd_ = -1;
  std::optional<FileWindow> window_;
};

}  // namespace vsockenc
