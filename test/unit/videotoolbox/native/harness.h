// Shared by the parts of videotoolbox-test.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "encoder.h"
#include "stress.h"
#include "vt_shim.h"

namespace harness {

using namespace vsockenc;
using namespace vsockenc::vt;

// Ends the process when it does not hold.
void Expect(bool condition, const std::string &what);
void ExpectHas(const std::string &text, const std::string &part);

// Adds a case, by whose name ("set: case") a failure is reported. One with a violation runs in a
// process of its own, which must fail with that message of the shim on stderr.
bool Add(const std::string &set, const std::string &name, std::function<void()> run,
         const char *violation = nullptr);

// A case of the file's kSet.
#define TEST(name) VIOLATION(name, nullptr)
#define VIOLATION(name, message)                                                              \
  static void name();                                                                         \
  [[maybe_unused]] static const bool name##_added = harness::Add(kSet, #name, name, message); \
  static void name()

using Packet = AnnexB;

// An encoder's events so far.
struct Events {
  std::vector<uint32_t> read, dropped, answered;
  std::map<uint32_t, Packet> packets;
  std::map<uint32_t, std::string> failed;
  std::string notes;  // one a line
};

// Records the events of an encoder. Every frame must be read once, then answered once, in order.
class Recorder : public EventSink {
 public:
  void On(SessionEvent event) override;
  Events events() const;
  std::function<void()> on_read;  // set before the first frame

 protected:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Events events_;
  bool attention_ = false;

 private:
  void Answered(uint32_t frame);
};

// 160x120, 30 frames a second, far more bits than the pictures need.
Settings Small(bool rgb = true);
// Without pauses between attempts, and with a limit of silence that a slow machine does not reach.
Patience Hasty(std::chrono::milliseconds silence = std::chrono::seconds(20));
constexpr std::chrono::milliseconds kSoon{1500};

// An encoder that follows a script, with the record of its events.
class Stream : public Recorder {
 public:
  explicit Stream(const std::string &script = "", const Settings &of = Small(),
                  Patience patience = Hasty());

  void Encode(uint32_t number, FrameSource source, bool key = false);
  // Draws the frame first.
  void EncodeOne(uint32_t number, bool key = false);
  void EncodeAll(uint32_t from, uint32_t to);
  // Acts as a session's idle thread until that many frames have been answered.
  void TendUntil(size_t answers);
  // Waits for the answers of all frames.
  Events Finish();
  // Finishes: every frame became a packet, once, in order, and a decoder shows what was drawn.
  void ExpectWhole(uint32_t frames);

  const Settings settings;
  const PixelFormat *format;  // of the drawn frames: BGRx, or NV12
  Encoder encoder;
};

// A picture that only frame `number` has, in the given format.
std::shared_ptr<const Picture> Draw(const PixelFormat &format, int width, int height, int number);
const PixelFormat &FormatNamed(const std::string &name);
// The I420 picture of Draw(), by the conversion of the libavcodec back end.
FramePointer Expected(const PixelFormat &format, int width, int height, int number,
                      bool full_range);

// Decodes access units in order; one picture for each.
std::vector<FramePointer> Decode(Codec codec, const std::map<uint32_t, Packet> &packets);
// A decoder shows what was drawn.
void ExpectPictures(const Settings &settings, const std::map<uint32_t, Packet> &packets,
                    const PixelFormat &format);
// Of luma and chroma together, in dB.
double Likeness(const AVFrame &one, const AVFrame &other);

vt_shim_counters Counters();
// NAL unit types of an access unit in Annex B.
std::vector<int> Types(Codec codec, const std::vector<uint8_t> &bytes);

}  // namespace harness
