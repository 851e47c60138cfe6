#ifndef VSOCKENC_HOST_NATIVE_PLATFORM_FILE_WINDOW_H_
#define VSOCKENC_HOST_NATIVE_PLATFORM_FILE_WINDOW_H_

#include <cstddef>
#include <cstdint>

namespace vsockenc {

// Bytes of a shareable memory, mapped shared into this process. They may begin and end anywhere;
// the mapping covers whole pages.
class FileWindow {
 public:
  // `protection` is mmap's. The bytes must lie inside the memory; the descriptor may be closed
  // afterwards. Throws std::system_error.
  FileWindow(int fd, uint64_t offset, uint64_t length, int protection);
  FileWindow(FileWindow &&other) noexcept;
  FileWindow &operator=(FileWindow &&) = delete;
  ~FileWindow();

  // Of the first byte.
  uint8_t *data() const { return data_; }

 private:
  void *base_;
  size_t length_;
  uint8_t *data_;
};

}  // namespace vsockenc

#endif  // VSOCKENC_HOST_NATIVE_PLATFORM_FILE_WINDOW_H_
