// A compression session: its frames on their way through the encoder, and the thread that calls
// back.
#pragma once

#include <VideoToolbox/VideoToolbox.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "cm_types.h"
#include "cv_types.h"
#include "encoder_catalog.h"
#include "script.h"
#include "software_encoder.h"

namespace vt_shim {

// One frame from EncodeFrame to its callback.
struct Job {
  int64_t index;  // in the session
  Ref<__CVBuffer> image;
  uint64_t checksum;
  CMTime pts;
  CMTime duration;
  bool key;
  void *refcon;
  FramePlan plan;
  std::chrono::system_clock::time_point due;
  std::chrono::steady_clock::time_point begun;
  bool done = false;
};

using JobPointer = std::shared_ptr<Job>;

}  // namespace vt_shim

struct OpaqueVTCompressionSession final : vt_shim::ObjectOf<OpaqueVTCompressionSession> {
 public:
  OpaqueVTCompressionSession(const vt_shim::EncoderEntry &encoder, CMVideoDimensions size,
                             vt_shim::SessionPlan session_plan, VTCompressionOutputCallback output,
                             void *output_context, vt_shim::Ref<__CVPixelBufferPool> buffers);

  std::string Describe() const override;
  void Finalize() override;

  void Invalidate();
  OSStatus EncodeFrame(CVImageBufferRef image, CMTime pts, CMTime duration,
                       CFDictionaryRef properties, void *refcon, VTEncodeInfoFlags *flags);
  OSStatus CompleteFrames(CMTime until);
  OSStatus SetProperty(CFStringRef key, CFTypeRef value);
  OSStatus CopyProperty(CFStringRef key, CFTypeRef *value);
  OSStatus CopySupported(CFDictionaryRef *supported);
  OSStatus Prepare();
  CVPixelBufferPoolRef Pool();

 private:
  using Lock = std::unique_lock<std::mutex>;

  // With `mutex_` held.
  OSStatus StateLocked() const;
  vt_shim::EncoderConfig ConfigLocked(bool full_range) const;
  bool PropertyIsTrue(CFStringRef key, bool otherwise) const;
  double PropertyNumber(CFStringRef key, double otherwise) const;
  std::string PropertyText(CFStringRef key) const;
  void CheckTimeLocked(CMTime pts) const;
  void WaitForRoomLocked(Lock &lock, int block_ms);
  void WaitForCallbackLocked(Lock &lock, const vt_shim::Job &job);
  bool WaitingForLocked(CMTime until) const;
  // When whoever waits for a callback from now on has lost patience: a lock must be held that the
  // callback needs.
  std::chrono::system_clock::time_point Deadline() const;

  // On the session's thread.
  void Run();
  void Process(const vt_shim::JobPointer &job);
  void Encode(const vt_shim::JobPointer &job);
  void OpenEncoder(bool full_range);
  void DrainEncoder();
  void DeliverUnits(const std::vector<vt_shim::EncodedUnit> &units);
  void Deliver(const vt_shim::JobPointer &job, OSStatus status, VTEncodeInfoFlags flags,
               CMSampleBufferRef sample);
  vt_shim::Ref<opaqueCMSampleBuffer> MakeSample(const vt_shim::Job &job,
                                                const vt_shim::EncodedUnit &unit) const;
  void DiscardPending();

  const vt_shim::EncoderEntry &encoder_entry_;
  const CMVideoDimensions dimensions_;
  const vt_shim::SessionPlan plan_;
  const VTCompressionOutputCallback callback_;
  void *const refcon_;

  std::mutex mutex_;
  std::condition_variable changed_;
  vt_shim::Ref<__CVPixelBufferPool> pool_;
  vt_shim::Ref<__CFDictionary> properties_;
  std::deque<vt_shim::JobPointer> queue_;           // not taken by the thread
  std::map<int64_t, vt_shim::JobPointer> pending_;  // without a callback
  int64_t next_index_ = 0;
  CMTime last_pts_ = kCMTimeInvalid;
  OSStatus broken_ = noErr;  // what every call gives once the session has failed for good
  bool invalid_ = false;
  bool silent_ = false;
  bool draining_ = false;
  bool finished_ = false;  // the thread calls back no more
  std::optional<int64_t> new_bit_rate_;

  // The thread's own.
  std::unique_ptr<vt_shim::SoftwareEncoder> encoder_;
  vt_shim::EncoderConfig config_{};
  vt_shim::Ref<opaqueCMFormatDescription> format_;
  vt_shim::SamplePlan sample_plan_;

  std::thread::id thread_id_;
  std::thread thread_;
};

namespace vt_shim {

template <>
inline constexpr Type kTypeOf<OpaqueVTCompressionSession>{"VTCompressionSession", 40};

}  // namespace vt_shim
