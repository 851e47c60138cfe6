// A client of the shim: a session with its callbacks recorded, pictures, and a decoder.
#pragma once

#include <VideoToolbox/VideoToolbox.h>

#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace self_test {

struct Output {
  int frame;  // the refcon
  OSStatus status;
  VTEncodeInfoFlags flags;
  bool has_sample;
  bool key;
  bool contiguous;
  bool valid_dts;
  int nal_length_size;
  std::vector<std::vector<uint8_t>> parameter_sets;
  std::vector<uint8_t> annex_b;  // with the parameter sets before a key frame
  std::thread::id thread;
};

struct Options {
  int width = 64;
  int height = 48;
  CMVideoCodecType codec = kCMVideoCodecType_H264;
  bool low_latency = false;
  bool require_hardware = true;
  bool reordering = false;
};

OSStatus CreateSession(const Options &options, VTCompressionOutputCallback callback, void *refcon,
                       VTCompressionSessionRef *session);

class Session {
 public:
  explicit Session(const Options &options = {});
  ~Session();
  Session(const Session &) = delete;

  // Paints a picture of frame `number` into a buffer of the session's pool and encodes it.
  OSStatus Encode(int number, bool key = false);
  OSStatus Encode(CVPixelBufferRef buffer, int number, bool key = false);
  CVPixelBufferRef NewPicture(int number);  // owned by the caller
  OSStatus Complete() { return VTCompressionSessionCompleteFrames(ref, kCMTimeInvalid); }
  std::vector<Output> Outputs();
  size_t OutputCount();

  VTCompressionSessionRef ref = nullptr;
  std::function<void()> in_callback;  // called at each, set before the first frame

 private:
  static void Callback(void *self, void *frame, OSStatus status, VTEncodeInfoFlags flags,
                       CMSampleBufferRef sample);
  std::mutex mutex_;
  std::vector<Output> outputs_;
};

void Set(VTCompressionSessionRef session, CFStringRef key, int value, OSStatus expected = noErr);
void Set(VTCompressionSessionRef session, CFStringRef key, CFTypeRef value,
         OSStatus expected = noErr);

// A plain buffer; the caller owns it.
CVPixelBufferRef NewBuffer(OSType format, int width, int height);
void Paint(CVPixelBufferRef buffer, int number);
IOSurfaceRef NewSurface(OSType format, int width, int height, bool global);

// How many pictures libavcodec makes of the stream; fails for an error in it.
int DecodedPictures(CMVideoCodecType codec, const std::vector<Output> &outputs);

}  // namespace self_test
