#include "harness.h"

#include <libyuv/compare.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "bitstream/nal_unit.h"

extern "C" {
#include <libavcodec/avcodec.h>
}

namespace harness {
namespace {

struct Case {
  std::string name;
  std::function<void()> run;
  const char *violation;
};

std::string running;

// A smooth picture with a moving edge and a number's worth of brightness.
uint8_t Sample(int x, int y, int number, int channel) {
  const int edge = (x + number * 3) % 96 < 48 ? 40 : 0;
  return static_cast<uint8_t>(60 + edge + (x * (channel + 1) + y * 2 + number * 5) % 100 / 2);
}

// The settings, once the script is in force.
Settings Scripted(const std::string &script, const Settings &settings) {
  vt_shim_set_script(script.c_str());
  return settings;
}

// Not destroyed, as cases are added by constructors of every file.
std::vector<Case> &Cases() {
  static auto *cases = new std::vector<Case>;
  return *cases;
}

}  // namespace

void Expect(bool condition, const std::string &what) {
  if (condition) return;
  std::fprintf(stderr, "%s: %s\n", running.c_str(), what.c_str());
  std::exit(1);
}

void ExpectHas(const std::string &text, const std::string &part) {
  Expect(text.find(part) != std::string::npos, "\"" + part + "\" is missing in: " + text);
}

bool Add(const std::string &set, const std::string &name, std::function<void()> run,
         const char *violation) {
  Cases().push_back({set + ": " + name, std::move(run), violation});
  return true;
}

void Recorder::Answered(uint32_t frame) {
  auto &[read, dropped, answered, packets, failed, notes] = events_;
  Expect(std::ranges::find(read, frame) != read.end(), "an answer ahead of the reading");
  Expect(std::ranges::find(answered, frame) == answered.end(), "a frame is answered twice");
  answered.push_back(frame);
  changed_.notify_all();
}

void Recorder::On(SessionEvent event) {
  const std::lock_guard lock(mutex_);
  std::visit(Match{[this](event::Read &event) {
                     Expect(events_.read.empty() || events_.read.back() < event.frame,
                            "a frame is read twice or out of order");
                     events_.read.push_back(event.frame);
                     if (on_read) on_read();
                   },
                   [this](event::Packet &event) {
                     auto &packets = events_.packets;
                     Expect(packets.empty() || packets.rbegin()->first < event.frame,
                            "packets are out of order");
                     const auto &[bytes, owner, key] = event.unit;
                     packets[event.frame] = {{bytes.begin(), bytes.end()}, key};
                     Answered(event.frame);
                   },
                   [this](event::Dropped &event) {
                     events_.dropped.push_back(event.frame);
                     Answered(event.frame);
                   },
                   [this](event::FrameFailed &event) {
                     events_.failed[event.frame] = event.message;
                     Answered(event.frame);
                   },
                   [this](event::Note &event) { events_.notes += event.message + "\n"; },
                   [this](event::Attention &) {
                     attention_ = true;
                     changed_.notify_all();
                   },
                   [](auto &) { Expect(false, "an encoder sends an event of the session"); }},
             event);
}

Events Recorder::events() const {
  const std::lock_guard lock(mutex_);
  return events_;
}

Stream::Stream(const std::string &script, const Settings &of, Patience patience)
    : settings(Scripted(script, of)),
      format(&FormatNamed(of.rgb ? "BGRx" : "NV12")),
      encoder(of, *this, patience) {}

void Stream::Encode(uint32_t number, FrameSource source, bool key) {
  encoder.Encode({.frame = number,
                  .source = std::move(source),
                  .force_key = key,
                  .queued = FrameClock::now()});
}

void Stream::EncodeOne(uint32_t number, bool key) {
  Encode(number, Draw(*format, settings.width, settings.height, static_cast<int>(number)), key);
}

void Stream::EncodeAll(uint32_t from, uint32_t to) {
  for (uint32_t number = from; number < to; ++number) EncodeOne(number);
}

void Stream::TendUntil(size_t answers) {
  for (;;) {
    const FrameClock::time_point until = encoder.Tend();
    std::unique_lock lock(mutex_);
    const auto answered = [&] { return events_.answered.size() >= answers; };
    if (answered()) return;
    changed_.wait_until(lock, until, [&] { return attention_ || answered(); });
    attention_ = false;
  }
}

Events Stream::Finish() {
  encoder.Finish();
  return events();
}

void Stream::ExpectWhole(uint32_t frames) {
  const auto packets = Finish().packets;
  Expect(packets.size() == frames, "a frame became no packet");
  ExpectPictures(settings, packets, *format);
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
  const auto layout =
      stress::Layout(format, static_cast<uint64_t>(width), static_cast<uint64_t>(height), 0, 0);
  auto picture = std::make_shared<Picture>(layout, std::make_shared<Budget>(0));
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

const PixelFormat &FormatNamed(const std::string &name) {
  const auto formats = PixelFormats();
  const auto found = std::ranges::find(formats, name, &PixelFormat::name);
  Expect(found != formats.end(), "no format " + name);
  return *found;
}

FramePointer Expected(const PixelFormat &format, int width, int height, int number,
                      bool full_range) {
  FramePointer frame = stress::NewFrame(width, height);
  Staging staging;
  Converter converter(full_range);
  converter.Convert(Draw(format, width, height, number)->Read(staging), *frame);
  return frame;
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

void ExpectPictures(const Settings &settings, const std::map<uint32_t, Packet> &packets,
                    const PixelFormat &format) {
  constexpr double kAlike = 35;  // dB
  const std::vector<FramePointer> pictures = Decode(settings.codec, packets);
  Expect(pictures.size() == packets.size(), "not a picture for each packet");
  auto picture = pictures.begin();
  for (const auto &[number, packet] : packets) {
    const FramePointer expected = Expected(format, settings.width, settings.height,
                                           static_cast<int>(number), settings.colour.full_range);
    const double likeness = Likeness(**picture++, *expected);
    Expect(likeness > kAlike, "frame " + std::to_string(number) + " of " + format.name + ", " +
                                  std::to_string(settings.width) + "x" +
                                  std::to_string(settings.height) +
                                  ", shows something else: " + std::to_string(likeness) + " dB");
  }
}

double Likeness(const AVFrame &one, const AVFrame &other) {
  Expect(one.width == other.width && one.height == other.height, "a picture of another size");
  const auto &a = one.data, &b = other.data;
  const auto &m = one.linesize, &n = other.linesize;
  return libyuv::I420Psnr(a[0], m[0], a[1], m[1], a[2], m[2], b[0], n[0], b[1], n[1], b[2], n[2],
                          one.width, one.height);
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
static std::pair<std::string, bool> RunApart(const std::string &program) {
  const std::string command =
      "exec " + program + " --violate '" + harness::running + "' 2>&1 >/dev/null";
  FILE *output = popen(command.c_str(), "r");
  harness::Expect(output != nullptr, "no process");
  std::string text;
  for (int byte; (byte = std::fgetc(output)) != EOF;) text += static_cast<char>(byte);
  return {text, pclose(output) != 0};
}

// Runs every case, or those whose names contain one of the arguments; with "--violate NAME" the one
// of that name, unprepared.
int main(int argc, char **argv) {
  using namespace harness;
  const std::vector<std::string> wanted(argv + 1, argv + argc);
  const bool violate = argc == 3 && wanted[0] == "--violate";
  for (const auto &[name, run, violation] : Cases()) {
    running = name;
    const auto contained = [](const std::string &part) {
      return running.find(part) != std::string::npos;
    };
    if (violate) {
      if (name == wanted[1]) run();
      continue;
    }
    if (!wanted.empty() && std::ranges::none_of(wanted, contained)) continue;
    if (violation != nullptr) {
      const auto [text, failed] = RunApart(argv[0]);
      Expect(failed, "it does not end the process");
      ExpectHas(text, "vt_shim: violation: ");
      ExpectHas(text, violation);
    } else {
      vt_shim_set_script("");
      run();
      vt_shim_set_script("");
      Expect(vt_shim_check_leaks() == 0, "objects are left");
    }
    std::printf("ok %s\n", name.c_str());
    std::fflush(stdout);
  }
  return 0;
}
