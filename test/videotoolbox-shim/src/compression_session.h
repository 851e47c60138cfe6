// A compression session: its frames on their way through the encoder, and the callback's thread.
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

#include "cm.h"
#include "cv.h"
#include "encoders.h"
#include "script.h"
#include "software_encoder.h"

namespace vt_shim {

// One frame from EncodeFrame to its callback.
struct Job {
  int64_t index;  // in the session
  Ref<__CVBuffer> image;
  uint64_t checksum;
  CMTime pts;
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
  static constexpr char kType[] = "VTCompressionSession";
  OpaqueVTCompressionSession(const vt_shim::EncoderEntry &encoder, vt_shim::Size size,
                             vt_shim::SessionPlan session_plan, VTCompressionOutputCallback output,
                             void *output_context, vt_shim::Ref<__CVPixelBufferPool> buffers);
  ~OpaqueVTCompressionSession() override;
  std::string Describe() const override;

  void Invalidate();
  OSStatus EncodeFrame(CVImageBufferRef image, CMTime pts, bool key, void *refcon);
  OSStatus CompleteFrames(CMTime until);
  OSStatus SetProperty(CFStringRef key, CFTypeRef value);
  OSStatus CopyProperty(CFStringRef key, CFTypeRef *value);
  OSStatus State();
  CVPixelBufferPoolRef Pool();

 private:
  using Lock = std::unique_lock<std::mutex>;

  // With `mutex_` held.
  OSStatus StateLocked() const;
  vt_shim::EncoderConfig ConfigLocked(bool full_range) const;
  bool PropertyIsFalse(CFStringRef key) const;
  double PropertyNumber(CFStringRef key, double otherwise = 0) const;
  std::string PropertyText(CFStringRef key) const;
  void CheckTimeLocked(CMTime pts) const;
  void WaitForRoomLocked(Lock &lock, int block_ms);
  void WaitForCallbackLocked(Lock &lock, const vt_shim::Job &job);
  bool WaitingForLocked(CMTime until) const;
  // When to stop waiting for a callback: by then a lock must be held that the callback needs.
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
  const vt_shim::Size size_;
  const vt_shim::SessionPlan plan_;
  const VTCompressionOutputCallback callback_;
  void *const refcon_;

  std::mutex mutex_;
  std::condition_variable changed_;
  vt_shim::Ref<__CVPixelBufferPool> pool_;
  __CFDictionary properties_{vt_shim::kImmortal};
  std::deque<vt_shim::JobPointer> queue_;           // not taken by the thread
  std::map<int64_t, vt_shim::JobPointer> pending_;  // without a callback
  int64_t next_index_ = 0;
  CMTime last_pts_ = kCMTimeInvalid;
  OSStatus broken_ = noErr;  // the answer to every call once the session has failed for good
  bool invalid_ = false;
  bool silent_ = false;
  bool draining_ = false;
  bool finished_ = false;  // no callback follows
  std::optional<int64_t> new_bit_rate_;

  // The thread's own.
  std::unique_ptr<vt_shim::SoftwareEncoder> encoder_;
  vt_shim::EncoderConfig config_{};
  vt_shim::Ref<opaqueCMFormatDescription> format_;
  vt_shim::SamplePlan sample_plan_;

  std::thread::id thread_id_;
  std::thread thread_;
};
