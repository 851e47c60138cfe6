// What the parts of media-stress share.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "encoder/libav.h"
#include "picture/convert.h"
#include "picture/picture.h"

extern "C" {
#include <libavutil/frame.h>
#include <libavutil/pixfmt.h>
}

namespace stress {

using namespace vsockenc;

constexpr uint64_t kPage = 4096;

inline void Check(bool condition, const char *what) {
  if (condition) return;
  std::fprintf(stderr, "media-stress: %s\n", what);
  std::exit(1);
}

class Memory {
 public:
  explicit Memory(uint64_t size) : fd_(memfd_create("media-stress", MFD_CLOEXEC)) {
    Check(fd_ >= 0 && ftruncate(fd_, static_cast<off_t>(size)) == 0, "no memory");
  }
  ~Memory() { close(fd_); }
  int fd() const { return fd_; }
  void Write(uint64_t offset, const std::vector<uint8_t> &bytes) const {
    Check(pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset)) ==
              static_cast<ssize_t>(bytes.size()),
          "memory cannot be written");
  }

 private:
  int fd_;
};

inline FramePointer NewFrame(int width, int height, AVPixelFormat format = AV_PIX_FMT_YUV420P) {
  FramePointer frame(av_frame_alloc());
  frame->format = format;
  frame->width = RoundUpToEven(width);
  frame->height = RoundUpToEven(height);
  Check(av_frame_get_buffer(frame.get(), 0) == 0, "no frame");
  return frame;
}

// Planes one behind the other in resource 0; stride 0: rows without padding.
inline PictureLayout Layout(const PixelFormat &format, uint64_t width, uint64_t height,
                            uint64_t stride, uint64_t offset) {
  PictureLayout layout{.width = width,
                       .height = height,
                       .fourcc = format.fourcc,
                       .planes = {},
                       .visible = {.x = 0, .y = 0, .width = width, .height = height}};
  uint64_t begin = offset;
  for (size_t i = 0; i < format.planes; ++i) {
    const uint64_t row = stride == 0 ? format.shapes[i].RowBytes(width) : stride;
    layout.planes.push_back({.resource = 0, .offset = begin, .stride = row});
    begin += format.shapes[i].Rows(height) * row;
  }
  return layout;
}

inline const PixelFormat &Bgrx() {
  return PixelFormats().front();
}

}  // namespace stress

// Every format and size: planes to NV12 and I420, gathered and stitched, inline and at the end of
// readable memory.
void Conversions();

// Random and damaged ones, rewritten.
void ParameterSets();
