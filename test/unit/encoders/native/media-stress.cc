// Drives pictures, conversion and sessions with values that a hostile guest could send, and closes
// sessions at every moment. It runs under AddressSanitizer, UndefinedBehaviorSanitizer and
// ThreadSanitizer, and ends with status 0 when neither they nor its own checks find an error.
//
//     media-stress [PART]
//
// One part alone: layouts, conversions, parameter-sets or sessions.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <future>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "encoder/lavc_encoder.h"
#include "encoder/session.h"
#include "memory/pixel_memory.h"
#include "memory/resource_memory.h"
#include "stress.h"

namespace {

using namespace stress;

// Numbers at which arithmetic goes wrong, and some at which it does not.
uint64_t Nasty(std::mt19937_64 &random) {
  constexpr std::array kPowers{0, 1, 4, 6, 8, 12, 13, 14, 20, 31, 32, 52, 53, 63};
  const uint64_t edge = (uint64_t{1} << kPowers[random() % kPowers.size()]) + random() % 3 - 1;
  // 2^64 and the two numbers around it, which wrap to the ends of the range.
  return random() % 4 == 0 ? random() % 70000 : random() % 12 == 0 ? random() % 3 - 2 : edge;
}

// Whatever the numbers are: an error, or a picture whose every visible byte can be read.
void HostileLayouts() {
  std::mt19937_64 random(1);
  const Memory memory(64 * kPage);
  const auto budget = std::make_shared<Budget>(16384);
  int mapped = 0;
  int gathered = 0;
  Staging staging;
  for (int round = 0; round < 60000; ++round) {
    const auto small = [&](uint64_t usual) { return random() % 4 == 0 ? Nasty(random) : usual; };
    const PixelFormat &format = PixelFormats()[random() % PixelFormats().size()];
    PictureLayout layout = Layout(format, small(33), small(31), small(256), small(random() % 9000));
    for (PlaneLayout &plane : layout.planes) {
      if (random() % 8 == 0) plane.offset = Nasty(random);
      if (random() % 8 == 0) plane.stride = Nasty(random);
      if (random() % 50 == 0) plane.resource = Nasty(random);
    }
    if (random() % 2 == 0) layout.visible = {small(3), small(2), small(29), small(17)};
    if (random() % 50 == 0) layout.fourcc = Nasty(random);
    if (random() % 50 == 0) layout.planes.push_back({small(0), small(0), small(256)});
    std::vector<Extent> extents;
    for (uint64_t left = 1 + random() % 6; left > 0; --left) {
      extents.push_back(
          {memory.fd(), small(random() % 60 * kPage), small((1 + random() % 3) * kPage)});
      if (random() % 4 == 0) extents.back().offset += random() % 100;
    }
    try {
      const Picture picture(layout, {extents}, budget);
      const Pixels pixels = picture.Read(staging);
      Converter converter(round % 2 == 0);
      converter.Convert(pixels, *NewFrame(pixels.width, pixels.height,
                                          round % 3 == 0 ? AV_PIX_FMT_NV12 : AV_PIX_FMT_YUV420P));
      ChecksumOf(pixels);
      ++(picture.tier() == Tier::kResource ? mapped : gathered);
    } catch (const PictureError &) {
    }
    try {
      for (PlaneLayout &plane : layout.planes) plane.offset %= 1 << 20;
      Picture picture(layout, budget);
      const std::vector<uint8_t> bytes(random() % 300);
      picture.Write(Nasty(random), bytes);
      picture.Write(picture.bytes() - std::min<uint64_t>(picture.bytes(), bytes.size()), bytes);
      ChecksumOf(picture.Read(staging));
    } catch (const PictureError &) {
    }
  }
  Check(mapped > 1000 && gathered > 300, "hardly any layout was legal: nothing has been tested");
  Check(Budget::AllRuns() == 0, "runs are still counted");
}

class Counter : public EventSink {
 public:
  void On(SessionEvent event) override {
    std::visit(
        Match{[this](const event::Opened &) { ++opened; }, [this](const event::Read &) { ++read; },
              [this](const event::Packet &packet) {
                Check(!packet.unit.bytes.empty(), "an empty packet");
                ++answered;
              },
              [this](const event::Dropped &) { ++answered; },
              [this](const event::FrameFailed &) { ++answered; },
              [this](const event::Passed &) { ++marks; },
              [this](const event::Closed &) { ++closed; }, [](const auto &) {}},
        event);
  }

  std::atomic<int> opened{0}, read{0}, answered{0}, marks{0}, closed{0};
};

LavcSettings Settings(const std::string &preset, bool live_rate) {
  return {{.width = 161,
           .height = 121,
           .framerate = {30, 1},
           .fixed_rate = live_rate,
           .pixel_aspect_ratio = {1, 1},
           .colour = {.primaries = 1, .transfer = 13, .matrix = 6, .full_range = false},
           .rgb = true,
           .rates = {1000000, 1000000, 1000000},
           .keyframe_interval = 5},
          "libx264",
          EncoderInput::kI420,
          {},
          live_rate,
          1,
          {{"preset", preset}, {"tune", "zerolatency"}, {"forced-idr", "1"}}};
}

// An encoder that counts changes of rate, and encodes its first frame until it may finish.
class SlowEncoder : public SessionEncoder {
 public:
  SlowEncoder(EventSink &sink, std::shared_future<void> may_finish, int &changes)
      : sink_(sink), may_finish_(std::move(may_finish)), changes_(changes) {}

  void Encode(FrameRequest request) override {
    may_finish_.wait();
    sink_.On(event::Read{request.frame});
    sink_.On(event::Dropped{request.frame, event::DropReason::kEncoder});
  }
  void SetRates(const Rates &, int) override { ++changes_; }
  void Finish() override {}
  FrameClock::time_point Tend() override { return FrameClock::time_point::max(); }
  const std::optional<std::string> &failure() const override { return failure_; }

 private:
  EventSink &sink_;
  std::shared_future<void> may_finish_;
  int &changes_;
  std::optional<std::string> failure_;
};

// An encoder whose rate is fixed is re-opened once for many changes between two frames.
void RateChanges() {
  std::promise<void> may_finish;
  const std::shared_future<void> finished = may_finish.get_future().share();
  Counter counter;
  int changes = 0;
  {
    Session session(
        [&](EventSink &sink) { return std::make_unique<SlowEncoder>(sink, finished, changes); },
        counter);
    session.Encode(0, FrameSource(), false);
    for (int rate = 1; rate <= 8000; ++rate) session.Reconfigure({rate, rate, rate}, 3);
    session.Encode(1, FrameSource(), false);
    may_finish.set_value();
    session.Mark(0);
    session.Reconfigure({1, 1, 1}, 3);
  }
  Check(changes == 2, "changes of rate between two frames are not merged");
  Check(counter.closed == 1, "not closed exactly once");
}

// Sessions are closed with work in every state; each frame must still be answered once.
void Sessions() {
  constexpr int kRounds = 150;
  std::mt19937_64 random(2);
  const Memory memory(32 * kPage);
  const auto budget = std::make_shared<Budget>(16384);
  for (int round = 0; round < kRounds; ++round) {
    Counter counter;
    const bool opens = round % 10 != 9;
    const bool other_size =
        round % 10 == 8;  // the caller's mistake: ends the session, not the process
    int frames = 0;
    int marks = 0;
    std::atomic<int> unmapped{0};
    {
      Session session(OpenLavc(Settings(opens ? "ultrafast" : "no-such-preset", round % 4 != 0)),
                      counter);
      for (int step = static_cast<int>(random() % 24); step > 0; --step) {
        auto picture = std::make_shared<Picture>(
            Layout(Bgrx(), other_size ? 99 : 161, 121, 700, 12),
            std::vector<std::vector<Extent>>{{{memory.fd(), step % 3 == 0 ? 1u : 0u, 31 * kPage}}},
            budget);
        picture->OnUnmapped([&unmapped] { ++unmapped; });
        session.Encode(static_cast<uint32_t>(frames++), std::move(picture), random() % 5 == 0);
        if (random() % 6 == 0) session.CancelFrames();
        if (random() % 6 == 0) {
          const int rate = static_cast<int>(100000 + random() % 5000000);
          session.Reconfigure({rate, rate, rate}, 3);
        }
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
  Check(Budget::AllRuns() == 0, "runs are still counted");
  Check(Budget::AllStaging() == 0, "staging memory is still counted");
  RateChanges();
  std::printf("sessions: %d\n", kRounds);
}

}  // namespace

int main(int argc, char **argv) {
  const std::map<std::string, void (*)()> parts{{"layouts", HostileLayouts},
                                                {"conversions", Conversions},
                                                {"parameter-sets", ParameterSets},
                                                {"sessions", Sessions}};
  const std::string wanted = argc > 1 ? argv[1] : "";
  int run = 0;
  for (const auto &[name, part] : parts) {
    if (!wanted.empty() && name != wanted) continue;
    part();
    ++run;
  }
  Check(run > 0, "unknown part");
  return 0;
}
