#include "harness.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "bitstream/nal_unit.h"

extern "C" {
#include <libavcodec/avcodec.h>
}

namespace harness {
namespace {

std::string running;

// A smooth picture with a moving edge and a number's worth of brightness.
uint8_t Sample(int x, int y, int number, int channel) {
  const int edge = (x + number * 3) % 96 < 48 ? 40 : 0;
  return static_cast<uint8_t>(60 + edge + (x * (channel + 1) + y * 2 + number * 5) % 100 / 2);
}

std::shared_ptr<Picture> Write(const PixelFormat &format, int width, int height, int number) {
  const auto layout =
      stress::Layout(format, static_cast<uint64_t>(width), static_cast<uint64_t>(height), 0, 0);
  auto picture = std::make_shared<Picture>(layout);
  for (size_t plane = 0; plane < format.planes; ++plane) {
    const PlaneShape &shape = format.shapes[plane];
    std::vector<uint8_t> bytes;
    for (uint64_t y = 0; y < shape.Rows(static_cast<uint64_t>(height)); ++y) {
      for (uint64_t i = 0; i < shape.RowBytes(static_cast<uint64_t>(width)); ++i) {
        const int channel = static_cast<int>(i % shape.bytes + plane);
        bytes.push_back(
            Sample(static_cast<int>(i / shape.bytes), static_cast<int>(y), number, channel));
      }
    }
    Expect(picture->Write(layout.planes[plane].offset, bytes), "a picture cannot be drawn");
  }
  return picture;
}

}  // namespace

void Expect(bool condition, const std::string &what) {
  if (condition) return;
  std::fprintf(stderr, "%s: %s\n", running.c_str(), what.c_str());
  std::exit(1);
}

void Recorder::Answered(uint32_t frame) {
  Expect(std::ranges::find(read_, frame) != read_.end(), "an answer ahead of the reading");
  Expect(std::ranges::find(answered_, frame) == answered_.end(), "a frame is answered twice");
  answered_.push_back(frame);
  changed_.notify_all();
}

void Recorder::On(SessionEvent event) {
  const std::lock_guard lock(mutex_);
  std::visit(Match{[this](event::Read &event) {
                     Expect(read_.empty() || read_.back() < event.frame,
                            "a frame is read twice or out of order");
                     read_.push_back(event.frame);
                   },
                   [this](event::Packet &event) {
                     Expect(packets_.empty() || packets_.rbegin()->first < event.frame,
                            "packets are out of order");
                     const auto &[bytes, owner, key] = event.unit;
                     packets_[event.frame] = {{bytes.begin(), bytes.end()}, key};
                     Answered(event.frame);
                   },
                   [this](event::Dropped &event) {
                     dropped_.push_back(event.frame);
                     Answered(event.frame);
                   },
                   [this](event::FrameFailed &event) {
                     failed_[event.frame] = event.message;
                     Answered(event.frame);
                   },
                   [this](event::Note &event) { notes_ += event.message + "\n"; },
                   [this](event::Attention &) {
                     attention_ = true;
                     changed_.notify_all();
                   },
                   [](auto &) { Expect(false, "an encoder sends an event of the session"); }},
             event);
}

std::map<uint32_t, Packet> Recorder::packets() const {
  const std::lock_guard lock(mutex_);
  return packets_;
}
std::vector<uint32_t> Recorder::dropped() const {
  const std::lock_guard lock(mutex_);
  return dropped_;
}
std::map<uint32_t, std::string> Recorder::failed() const {
  const std::lock_guard lock(mutex_);
  return failed_;
}
std::string Recorder::notes() const {
  const std::lock_guard lock(mutex_);
  return notes_;
}
size_t Recorder::answers() const {
  const std::lock_guard lock(mutex_);
  return answered_.size();
}
size_t Recorder::reads() const {
  const std::lock_guard lock(mutex_);
  return read_.size();
}

void Recorder::TendUntil(Encoder &encoder, size_t answers) {
  for (;;) {
    const FrameClock::time_point until = encoder.Tend();
    std::unique_lock lock(mutex_);
    if (answered_.size() >= answers) return;
    changed_.wait_until(lock, until, [&] { return attention_ || answered_.size() >= answers; });
    attention_ = false;
  }
}

Settings Small(bool rgb) {
  return {{.width = 160,
           .height = 120,
           .framerate = {30, 1},
           .fixed_rate = true,
           .pixel_aspect_ratio = {1, 1},
           .colour = {.primaries = 1, .transfer = 13, .matrix = 6, .full_range = false},
           .rgb = rgb,
           .rates = {4'000'000, 4'000'000, 4'000'000},
           .keyframe_interval = 1000},
          Codec::kH264,
          Profile::kHigh};
}

Patience Hasty(std::chrono::milliseconds silence) {
  return {.attempts = 4, .pause = std::chrono::milliseconds(1), .silence = silence};
}

std::shared_ptr<const Picture> Draw(const PixelFormat &format, int width, int height, int number) {
  return Write(format, width, height, number);
}

const PixelFormat &FormatNamed(const std::string &name) {
  for (const PixelFormat &format : PixelFormats()) {
    if (name == format.name) return format;
  }
  Expect(false, "no format " + name);
  std::abort();
}

FramePointer Expected(const PixelFormat &format, int width, int height, int number,
                      bool full_range) {
  FramePointer frame = stress::NewFrame(width, height);
  Staging staging;
  Converter converter(full_range);
  converter.Convert(Write(format, width, height, number)->Read(staging), *frame);
  return frame;
}

void EncodeOne(Encoder &encoder, const Settings &settings, uint32_t number, bool key,
               const std::string &format) {
  encoder.Encode({.frame = number,
                  .source = Draw(FormatNamed(format), settings.width, settings.height,
                                 static_cast<int>(number)),
                  .force_key = key,
                  .queued = FrameClock::now()});
}

std::vector<FramePointer> Decode(Codec codec, const std::map<uint32_t, Packet> &packets) {
  const AVCodec *decoder =
      avcodec_find_decoder(codec == Codec::kH264 ? AV_CODEC_ID_H264 : AV_CODEC_ID_HEVC);
  const CodecContextPointer context(avcodec_alloc_context3(decoder));
  context->thread_count = 1;
  context->flags |= AV_CODEC_FLAG_LOW_DELAY;
  context->err_recognition = AV_EF_EXPLODE;
  Expect(avcodec_open2(context.get(), decoder, nullptr) == 0, "no decoder");
  std::vector<FramePointer> frames;
  const auto receive = [&] {
    for (FramePointer frame(av_frame_alloc());
         avcodec_receive_frame(context.get(), frame.get()) == 0; frame.reset(av_frame_alloc())) {
      frames.push_back(std::move(frame));
    }
  };
  for (const auto &[number, packet] : packets) {
    const PacketPointer coded(av_packet_alloc());
    Expect(av_new_packet(coded.get(), static_cast<int>(packet.bytes.size())) == 0, "no packet");
    std::ranges::copy(packet.bytes, coded->data);
    Expect(avcodec_send_packet(context.get(), coded.get()) == 0,
           "frame " + std::to_string(number) + " cannot be decoded");
    receive();
  }
  avcodec_send_packet(context.get(), nullptr);
  receive();
  return frames;
}

double Likeness(const AVFrame &one, const AVFrame &other) {
  Expect(one.width == other.width && one.height == other.height, "a picture of another size");
  double squares = 0;
  size_t samples = 0;
  for (int plane = 0; plane < 3; ++plane) {
    const int shift = plane == 0 ? 0 : 1;
    for (int y = 0; y < one.height >> shift; ++y) {
      for (int x = 0; x < one.width >> shift; ++x) {
        const int difference = one.data[plane][y * one.linesize[plane] + x] -
                               other.data[plane][y * other.linesize[plane] + x];
        squares += difference * difference;
        ++samples;
      }
    }
  }
  return squares == 0 ? 99
                      : 10 * std::log10(255.0 * 255.0 * static_cast<double>(samples) / squares);
}

vt_shim_counters Counters() {
  vt_shim_counters counters;
  vt_shim_get_counters(&counters);
  return counters;
}

std::vector<int> Types(Codec codec, const std::vector<uint8_t> &bytes) {
  std::vector<int> types;
  for (size_t from = 0;;) {
    const std::optional<size_t> begin = NextNalUnit(bytes, from);
    if (!begin) return types;
    const uint8_t head = bytes[*begin];
    types.push_back(codec == Codec::kH264 ? head & 0x1f : head >> 1 & 0x3f);
    from = NalUnitEnd(bytes, *begin);
  }
}

size_t CountOf(const std::string &text, const std::string &part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

}  // namespace harness

// The shim's HEVC encoder: what it leaves with each that is opened, and threads of its own that no
// sanitizer has seen the synchronisation of.
extern "C" const char *__lsan_default_suppressions() {
  return "leak:libx265";
}
extern "C" const char *__tsan_default_suppressions() {
  return "race:libx265";
}

// The stderr of the case that is running, in a process of its own, and whether that failed.
static std::pair<std::string, bool> RunApart(const char *program) {
  using namespace harness;
  int pipes[2];
  Expect(pipe(pipes) == 0, "no pipe");
  const pid_t child = fork();
  Expect(child >= 0, "no process");
  if (child == 0) {
    dup2(pipes[1], STDERR_FILENO);
    close(pipes[0]);
    execl(program, program, "--violate", running.c_str(), nullptr);
    _exit(127);
  }
  close(pipes[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t count; (count = read(pipes[0], buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<size_t>(count));
  }
  close(pipes[0]);
  int status = 0;
  Expect(waitpid(child, &status, 0) == child, "the process is lost");
  return {text, status != 0};
}

// Runs every case, or those whose names ("set: case") contain one of the arguments; with
// "--violate NAME" the one of that name, unprepared.
int main(int argc, char **argv) {
  using namespace harness;
  constexpr std::pair<const char *, void (*)(std::vector<Case> &)> kSets[] = {
      {"streams", AddStreams},   {"inputs", AddInputs},
      {"failures", AddFailures}, {"access units", AddAccessUnits},
      {"ladders", AddLadders},   {"sessions", AddSessions},
      {"shim", AddShim},
  };
  const std::vector<std::string> wanted(argv + 1, argv + argc);
  const bool violate = argc == 3 && wanted[0] == "--violate";
  for (const auto &[set, add] : kSets) {
    std::vector<Case> cases;
    add(cases);
    for (const Case &one : cases) {
      running = std::string(set) + ": " + one.name;
      const auto contained = [](const std::string &part) {
        return running.find(part) != std::string::npos;
      };
      if (violate) {
        if (running == wanted[1]) one.run();
        continue;
      }
      if (!wanted.empty() && std::ranges::none_of(wanted, contained)) continue;
      if (one.violation != nullptr) {
        const auto [text, failed] = RunApart(argv[0]);
        Expect(failed && text.find("vt_shim: violation: ") != std::string::npos &&
                   text.find(one.violation) != std::string::npos,
               "expected a violation, \"" + std::string(one.violation) + "\", got:\n" + text);
      } else {
        vt_shim_reset_counters();
        vt_shim_set_script("");
        one.run();
        vt_shim_set_script("");
        Expect(vt_shim_check_leaks() == 0, "objects are left");
      }
      std::printf("ok %s\n", running.c_str());
      std::fflush(stdout);
    }
  }
  return 0;
}
