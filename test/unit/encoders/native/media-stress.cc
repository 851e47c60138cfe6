// Drives pictures, conversion and sessions with values that a hostile guest could send, and closes
// sessions at every moment. It is run under AddressSanitizer, UndefinedBehaviorSanitizer and
// ThreadSanitizer, and ends with status 0 when neither they nor its own checks have anything to
// say.
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "convert.h"
#include "linear_mapping.h"
#include "picture.h"
#include "picture_error.h"
#include "session.h"

extern "C" {
#include <libavcodec/packet.h>
#include <libavutil/frame.h>
}

namespace {

using namespace vsockenc;

constexpr uint64_t kPage = 4096;
constexpr uint32_t kBgrx = 0x34325258;

void Check(bool condition, const char *what) {
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

 private:
  int fd_;
};

FramePointer NewFrame(int width, int height) {
  FramePointer frame(av_frame_alloc());
  frame->format = 0;  // yuv420p
  frame->width = RoundUpToEven(width);
  frame->height = RoundUpToEven(height);
  Check(av_frame_get_buffer(frame.get(), 0) == 0, "no frame");
  return frame;
}

PictureLayout Layout(uint64_t width, uint64_t height, uint64_t stride, uint64_t offset) {
  return {.width = width,
          .height = height,
          .fourcc = kBgrx,
          .planes = {{.resource = 0, .offset = offset, .stride = stride}},
          .visible = {.x = 0, .y = 0, .width = width, .height = height}};
}

// Numbers at which arithmetic goes wrong, and some at which it does not.
uint64_t Nasty(std::mt19937_64 &random) {
  static const std::vector<uint64_t> edges{0,
                                           1,
                                           2,
                                           15,
                                           16,
                                           17,
                                           64,
                                           255,
                                           256,
                                           4095,
                                           4096,
                                           4097,
                                           8192,
                                           16383,
                                           16384,
                                           16385,
                                           1u << 20,
                                           (1u << 20) + 1,
                                           1u << 31,
                                           UINT32_MAX,
                                           uint64_t{1} << 32,
                                           1ull << 52,
                                           (1ull << 53) - 1,
                                           1ull << 63,
                                           UINT64_MAX - 1,
                                           UINT64_MAX};
  return random() % 4 == 0 ? random() % 70000 : edges[random() % edges.size()];
}

// Whatever the numbers are: an error, or a picture whose every visible byte can be read.
void HostileLayouts() {
  std::mt19937_64 random(1);
  const Memory memory(64 * kPage);
  int mapped = 0;
  for (int round = 0; round < 60000; ++round) {
    const auto small = [&](uint64_t usual) { return random() % 4 == 0 ? Nasty(random) : usual; };
    PictureLayout layout = Layout(small(33), small(31), small(256), small(random() % 9000));
    if (random() % 2 == 0) layout.visible = {small(3), small(2), small(29), small(17)};
    if (random() % 50 == 0) layout.fourcc = Nasty(random);
    if (random() % 50 == 0) layout.planes.push_back({small(0), small(0), small(256)});
    std::vector<Extent> extents;
    for (uint64_t left = 1 + random() % 6; left > 0; --left) {
      extents.push_back(
          {memory.fd(), small(random() % 60 * kPage), small((1 + random() % 3) * kPage)});
    }
    try {
      const Picture picture(layout, {extents});
      const PackedPixels pixels = picture.pixels();
      ConvertTo420(picture, round % 2 == 0, *NewFrame(pixels.width, pixels.height));
      ++mapped;
    } catch (const PictureError &) {
    }
  }
  Check(mapped > 1000, "hardly any layout was legal: nothing has been tested");
  Check(LinearMapping::RunsInUse() == 0, "runs are still counted");
}

// Nothing is read behind the last pixel: it is the last of its mapping, and what follows cannot be
// read. The kernel puts a new mapping right below the last one unless there is a gap for it, so
// both are larger than gaps usually are.
void NoReadBehindTheEnd() {
  constexpr uint64_t kMapped = 8 << 20;
  constexpr uint64_t kGuard = 16 << 20;
  const Memory memory(kMapped);
  int guarded = 0;
  for (uint64_t width = 1; width <= 300; ++width) {
    for (const uint64_t height : {1, 2, 3, 16}) {
      const uint64_t size = width * 4 * height;
      void *guard = mmap(nullptr, kGuard, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      const Picture picture(Layout(width, height, width * 4, kMapped - size),
                            {{{memory.fd(), 0, kMapped}}});
      const PackedPixels pixels = picture.pixels();
      if (pixels.data + size == guard) ++guarded;
      ConvertTo420(picture, height == 2, *NewFrame(pixels.width, pixels.height));
      munmap(guard, kGuard);
    }
  }
  std::printf("guarded conversions: %d\n", guarded);
}

class Counter : public SessionEvents {
 public:
  void OnOpened() override { ++opened; }
  void OnOpenFailed(const std::string &) override { ++failed; }
  void OnRead(uint32_t) override { ++read; }
  void OnPacket(uint32_t, PacketPointer packet, FrameTimes) override {
    Check(packet->size > 0, "an empty packet");
    ++answered;
  }
  void OnDropped(uint32_t, DropReason) override { ++answered; }
  void OnFrameFailed(uint32_t, const std::string &) override { ++answered; }
  void OnFailed(const std::string &) override { ++failed; }
  void OnMark(uint32_t) override { ++marks; }
  void OnClosed() override { ++closed; }

  std::atomic<int> opened{0}, failed{0}, read{0}, answered{0}, marks{0}, closed{0};
};

EncoderSettings Settings(const std::string &preset) {
  return {.name = "libx264",
          .width = 161,
          .height = 121,
          .framerate = {30, 1},
          .pixel_aspect_ratio = {1, 1},
          .colour = {.primaries = 1, .transfer = 13, .matrix = 6, .full_range = false},
          .bits_per_second = 1000000,
          .keyframe_interval = 5,
          .threads = 1,
          .options = {{"preset", preset}, {"tune", "zerolatency"}, {"forced-idr", "1"}}};
}

// Sessions are closed with work in every state; each frame must still be answered once.
void Sessions() {
  std::mt19937_64 random(2);
  const Memory memory(32 * kPage);
  for (int round = 0; round < 150; ++round) {
    Counter counter;
    const bool opens = round % 10 != 9;
    const bool other_size =
        round % 10 == 8;  // the caller's mistake: ends the session, not the process
    int frames = 0;
    int marks = 0;
    std::atomic<int> unmapped{0};
    {
      Session session(Settings(opens ? "ultrafast" : "no-such-preset"), counter);
      for (int step = static_cast<int>(random() % 24); step > 0; --step) {
        auto picture = std::make_shared<Picture>(
            Layout(other_size ? 99 : 161, 121, 700, 12),
            std::vector<std::vector<Extent>>{{{memory.fd(), 0, 32 * kPage}}});
        picture->OnUnmapped([&unmapped] { ++unmapped; });
        session.Encode(static_cast<uint32_t>(frames++), std::move(picture), random() % 5 == 0);
        if (random() % 6 == 0) session.CancelFrames();
        if (random() % 6 == 0)
          session.Reconfigure(static_cast<int64_t>(100000 + random() % 5000000), 3);
        if (random() % 6 == 0) session.Mark(static_cast<uint32_t>(marks++));
        if (random() % 8 == 0) usleep(500);
      }
      if (round % 3 == 0) session.Close();
      if (round % 6 == 0) session.Close();
    }
    Check(counter.closed == 1, "not closed exactly once");
    Check(counter.opened == (opens ? 1 : 0), "not opened exactly once");
    Check(counter.read == frames && counter.answered == frames && counter.marks == marks,
          "a frame or mark without answer");
    Check(unmapped == frames, "a picture outlives its session");
  }
  Check(LinearMapping::RunsInUse() == 0, "runs are still counted");
}

}  // namespace

int main() {
  HostileLayouts();
  NoReadBehindTheEnd();
  Sessions();
  return 0;
}
