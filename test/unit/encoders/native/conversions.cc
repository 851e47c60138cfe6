#include <cstring>
#include <memory>

#include "stress.h"

namespace {

using namespace stress;

constexpr uint64_t kMapped = 8 << 20;
constexpr uint64_t kGuard = 16 << 20;

std::vector<uint8_t> Noise(uint64_t bytes) {
  std::vector<uint8_t> noise(bytes);
  uint32_t state = 1;
  for (uint8_t &byte : noise) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<uint8_t>(state >> 24);
  }
  return noise;
}

uint64_t BytesOf(const PixelFormat &format, uint64_t width, uint64_t height) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < format.planes; ++i) {
    bytes += format.shapes[i].Rows(height) * format.shapes[i].RowBytes(width);
  }
  return bytes;
}

bool SameRow(const uint8_t *a, const uint8_t *b, int length) {
  return std::memcmp(a, b, static_cast<size_t>(length)) == 0;
}

// NV12 has the samples of I420, U and V in turn.
bool SameSamples(const AVFrame &nv12, const AVFrame &i420) {
  for (int y = 0; y < nv12.height; ++y) {
    if (!SameRow(nv12.data[0] + y * nv12.linesize[0], i420.data[0] + y * i420.linesize[0],
                 nv12.width)) {
      return false;
    }
  }
  for (int y = 0; y < nv12.height / 2; ++y) {
    for (int x = 0; x < nv12.width / 2; ++x) {
      const uint8_t *pair = nv12.data[1] + y * nv12.linesize[1] + 2 * x;
      if (pair[0] != i420.data[1][y * i420.linesize[1] + x] ||
          pair[1] != i420.data[2][y * i420.linesize[2] + x]) {
        return false;
      }
    }
  }
  return true;
}

// Nothing is read behind the last pixel: it is the last of its mapping, and what follows cannot be
// read. The kernel puts a new mapping right below the last one unless there is a gap for it, so
// both are larger than gaps usually are.
//
// Whatever an encoder takes and however the pixels are reached, it gets the same samples.
bool OneSize(const Memory &memory, const PixelFormat &format, uint64_t width, uint64_t height,
             bool full_range) {
  const uint64_t size = BytesOf(format, width, height);
  const uint64_t offset = kMapped - size;
  const PictureLayout layout = Layout(format, width, height, 0, offset);

  void *guard = mmap(nullptr, kGuard, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const auto budget = std::make_shared<Budget>(16384);
  const Picture stitched(layout, {{{memory.fd(), 0, kMapped}}}, budget);
  Staging none;
  const Pixels pixels = stitched.Read(none);
  Check(Budget::AllStaging() == 0, "a stitched picture was copied");
  const bool guarded = pixels.planes[0].data + size == guard;
  Converter converter(full_range);
  const FramePointer i420 = NewFrame(pixels.width, pixels.height);
  const FramePointer nv12 = NewFrame(pixels.width, pixels.height, AV_PIX_FMT_NV12);
  converter.Convert(pixels, *i420);
  converter.Convert(pixels, *nv12);
  const Checksum checksum = ChecksumOf(pixels);
  munmap(guard, kGuard);
  Check(SameSamples(*nv12, *i420), "NV12 differs from I420");

  // Behind a byte that is not the picture's, so no run begins at a page.
  PictureLayout shifted = layout;
  for (PlaneLayout &plane : shifted.planes) plane.offset -= 1;
  const Picture gathered(shifted, {{{memory.fd(), 1, kMapped - 1}}}, budget);
  Check(gathered.tier() == Tier::kResourceGather, "an unaligned run was stitched");
  Staging staging;
  const FramePointer other = NewFrame(pixels.width, pixels.height, AV_PIX_FMT_NV12);
  converter.Convert(gathered.Read(staging), *other);
  Check(SameSamples(*other, *i420), "a gathered picture differs");
  Check(ChecksumOf(gathered.Read(staging)).crc == checksum.crc, "a gathered checksum differs");

  Picture received(Layout(format, width, height, 0, 0), budget);
  static const std::vector<uint8_t> all = Noise(kMapped);
  Check(received.Write(0, {all.data() + offset, received.bytes()}), "inline bytes are refused");
  Check(!received.Write(1, {all.data(), received.bytes()}), "a byte too many is taken");
  Check(ChecksumOf(received.Read(none)).crc == checksum.crc, "an inline checksum differs");
  return guarded;
}

}  // namespace

void Conversions() {
  const Memory memory(kMapped);
  memory.Write(0, Noise(kMapped));
  int guarded = 0;
  for (const PixelFormat &format : PixelFormats()) {
    for (uint64_t width = 1; width <= 300; width += width < 40 ? 1 : 13) {
      for (const uint64_t height : {1, 2, 3, 17}) {
        if (OneSize(memory, format, width, height, (width + height) % 2 == 0)) ++guarded;
      }
    }
  }
  std::printf("guarded conversions: %d\n", guarded);
  Check(Budget::AllStaging() == 0, "staging memory is still counted");
}
