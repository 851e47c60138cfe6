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

// A case, by whose name a failure is reported. One with a violation runs in a process of its own,
// which must fail with that message of the shim on stderr.
struct Case {
  std::string name;
  std::function<void()> run;
  const char *violation = nullptr;
};
void AddStreams(std::vector<Case> &cases);
void AddInputs(std::vector<Case> &cases);
void AddFailures(std::vector<Case> &cases);
void AddAccessUnits(std::vector<Case> &cases);
void AddLadders(std::vector<Case> &cases);
void AddSessions(std::vector<Case> &cases);
void AddShim(std::vector<Case> &cases);  // test/videotoolbox-shim/self-test

struct Packet {
  std::vector<uint8_t> bytes;
  bool key;
};

// Records the events of an encoder. Every frame must be read once, then answered once, in order.
class Recorder : public EventSink {
 public:
  void On(SessionEvent event) override;

  std::map<uint32_t, Packet> packets() const;
  std::vector<uint32_t> dropped() const;
  std::map<uint32_t, std::string> failed() const;
  // One a line.
  std::string notes() const;
  size_t answers() const;
  size_t reads() const;
  // Acts as a session's idle thread until that many frames have been answered.
  void TendUntil(Encoder &encoder, size_t answers);

 private:
  void Answered(uint32_t frame);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<uint32_t, Packet> packets_;
  std::vector<uint32_t> read_, dropped_, answered_;
  std::map<uint32_t, std::string> failed_;
  std::string notes_;
  bool attention_ = false;
};

// 160x120, 30 frames a second, far more bits than the pictures need.
Settings Small(bool rgb = true);
// Without pauses between attempts, and with a limit of silence that a slow machine does not reach.
Patience Hasty(std::chrono::milliseconds silence = std::chrono::seconds(20));
constexpr std::chrono::milliseconds kSoon{1500};

// A picture that only frame `number` has, in the given format.
std::shared_ptr<const Picture> Draw(const PixelFormat &format, int width, int height, int number);
const PixelFormat &FormatNamed(const std::string &name);
// The I420 picture of Draw(), by the conversion of the libavcodec back end.
FramePointer Expected(const PixelFormat &format, int width, int height, int number,
                      bool full_range);

void EncodeOne(Encoder &encoder, const Settings &settings, uint32_t number, bool key = false,
               const std::string &format = "BGRx");

// Decodes access units in order; one picture for each.
std::vector<FramePointer> Decode(Codec codec, const std::map<uint32_t, Packet> &packets);
// Of luma and chroma together, in dB.
double Likeness(const AVFrame &one, const AVFrame &other);

vt_shim_counters Counters();
// NAL unit types of an access unit in Annex B.
std::vector<int> Types(Codec codec, const std::vector<uint8_t> &bytes);
size_t CountOf(const std::string &text, const std::string &part);

}  // namespace harness
