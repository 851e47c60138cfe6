// A client of the shim: a session whose callbacks are recorded, pictures, and macros for checks.
#pragma once

#include <VideoToolbox/VideoToolbox.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "../../unit/videotoolbox/support/new_surface.h"
#include "harness.h"

namespace self_test {

using namespace harness;

constexpr char kSet[] = "shim";

#define EXPECT(condition) Expect(condition, #condition)
#define EXPECT_EQ(left, right) ExpectEqual(left, right, #left " is not " #right)
template <typename Left, typename Right>
void ExpectEqual(Left left, Right right, const char *what) {
  const auto one = static_cast<int64_t>(left);
  const auto other = static_cast<int64_t>(right);
  Expect(one == other, what + (": " + std::to_string(one)) + " and " + std::to_string(other));
}

struct Output {
  int frame;  // the refcon
  OSStatus status;
  VTEncodeInfoFlags flags;
  uint64_t submitted;  // frames, by the time of the callback
  std::thread::id thread;
  bool has_sample;
  Packet packet;
  bool contiguous;
  bool valid_dts;
  int nal_length_size;
  std::set<std::vector<uint8_t>> parameter_sets;
};

struct Options {
  Codec codec = Codec::kH264;
  bool low_latency = false;
  bool require_hardware = true;
  bool reordering = false;
  int width = 64;
};
constexpr int kHeight = 48;

OSStatus Create(const Options &options, VTCompressionOutputCallback callback, void *refcon,
                CfRef<VTCompressionSessionRef> *session);
// Of a session that never encodes.
OSStatus CreateOnly(const Options &options, CfRef<VTCompressionSessionRef> *session);

class Session {
 public:
  explicit Session(const Options &options = {});
  ~Session();
  Session(const Session &) = delete;

  VTCompressionSessionRef get() const { return ref_.get(); }
  void Set(CFStringRef key, CFTypeRef value, OSStatus expected = noErr);
  // A picture of frame `number` in a buffer of the session's pool.
  CfRef<CVPixelBufferRef> NewPicture(int number);
  OSStatus Encode(int number, bool key = false);
  OSStatus Encode(CVPixelBufferRef buffer, int number, bool key = false);
  // Encodes the frames 0 … count - 1, which must succeed, and waits for their outputs.
  void EncodeAll(int count, int key = -1);
  OSStatus Complete() { return VTCompressionSessionCompleteFrames(get(), kCMTimeInvalid); }
  std::vector<Output> Outputs();
  size_t OutputCount() { return Outputs().size(); }
  void WaitForOutputs(size_t count);
  // Pictures that a decoder makes of the outputs, which must have no error.
  size_t Decoded();

  std::function<void()> in_callback;  // called at each, set before the first frame

 private:
  static void Callback(void *self, void *frame, OSStatus status, VTEncodeInfoFlags flags,
                       CMSampleBufferRef sample);
  Output OutputOf(CMSampleBufferRef sample) const;

  const Codec codec_;
  CfRef<VTCompressionSessionRef> ref_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Output> outputs_;
};

// A plain buffer.
CfRef<CVPixelBufferRef> NewBuffer(OSType format, int width = 64, int height = kHeight);
void Paint(CVPixelBufferRef buffer, int number);
// Until another thread ends the process.
[[noreturn]] void WaitForTheEnd();

}  // namespace self_test
