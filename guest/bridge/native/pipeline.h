// One GStreamer pipeline that ends in an appsink, for a program with an event loop of its own.
//
// Theory of operation. `wake`, called on any thread, wakes the event loop, which then takes
// replies, bus messages and samples.
//   - Samples wait in the appsink, which holds a few and blocks the streaming thread when it is
//     full. So a late event loop slows the encoder's output, the encoder drops (and counts) frames
//     before encoding them, and no access unit is lost.
//   - Messages are read in the bus's synchronous handler and wait in a list of bounded length.
//   - Calls that may block (changes of state, events, queries) run on a thread of the pipeline's
//     own, in order, and are answered by a reply with the caller's token.
#ifndef VSOCKENC_GUEST_BRIDGE_NATIVE_PIPELINE_H_
#define VSOCKENC_GUEST_BRIDGE_NATIVE_PIPELINE_H_

#include <gst/app/gstappsink.h>
#include <gst/gst.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace vsockenc {

// For std::unique_ptr.
template <auto kFree>
struct FreeBy {
  void operator()(auto *object) const { kFree(object); }
};
// gst_sample_unref is a static function, which must not be part of an external name.
struct SampleUnref {
  void operator()(GstSample *sample) const { gst_sample_unref(sample); }
};
template <typename Object>
using GstRef = std::unique_ptr<Object, FreeBy<gst_object_unref>>;
using SampleRef = std::unique_ptr<GstSample, SampleUnref>;

// An invalid request; `kind` is for programs.
class PipelineError : public std::runtime_error {
 public:
  PipelineError(const char *kind, const std::string &text)
      : std::runtime_error(text), kind_(kind) {}
  const char *kind() const { return kind_; }

 private:
  const char *kind_;
};

struct BusMessage {
  // "error", "warning", "info", "eos", "latency" or "lost" (`count` messages were discarded).
  const char *kind;
  // Of the element that posted it; the factory is "" without one.
  std::string element;
  std::string factory;
  // Of the GError: the quark's name, the code, the message and the debug details.
  std::string domain;
  int code = 0;
  std::string text;
  std::string debug;
  uint32_t count = 0;
};

struct Latency {
  bool live;
  GstClockTime min;
  // GST_CLOCK_TIME_NONE: no limit.
  GstClockTime max;
};

// Of SetState, QueryLatency and Close.
struct Reply {
  uint32_t token;
  // "" on success.
  std::string failure;
  std::optional<Latency> latency;
};

class Pipeline {
 public:
  // Parses the description; the pipeline is in NULL. `wake` is called on any thread until Close has
  // been answered or the destructor returns.
  //
  // Throws PipelineError "parse", "missing-element", or "sink" when no appsink has that name.
  Pipeline(const std::string &description, const std::string &sink, std::function<void()> wake);
  // Sets NULL and joins; may block if Close has not been answered.
  ~Pipeline();
  Pipeline(const Pipeline &) = delete;
  Pipeline &operator=(const Pipeline &) = delete;

  // Answered when the elements have accepted the change; the cause of a failure is on the bus.
  void SetState(uint32_t token, GstState state);
  void QueryLatency(uint32_t token);
  // Requests a key frame with all parameter sets.
  void ForceKeyUnit();
  // Sets NULL. Nothing is delivered after the reply.
  void Close(uint32_t token);

  // Names, and names of factories.
  std::vector<std::pair<std::string, std::string>> Elements() const;
  // Throws PipelineError "no-element".
  GstRef<GstElement> Element(const std::string &name) const;

  std::vector<Reply> TakeReplies();
  std::vector<BusMessage> TakeMessages();
  // Null if none waits.
  SampleRef TakeSample() { return SampleRef(gst_app_sink_try_pull_sample(sink_.get(), 0)); }
  // The time by the pipeline's clock since the buffer's running time; none if either is unknown.
  std::optional<GstClockTime> Age(GstSample *sample) const;

 private:
  // Commands that wait for a change of state; at most one a second comes from outside.
  static constexpr size_t kMaxJobs = 64;

  void Run();
  // Throws PipelineError "busy" if as many jobs wait as `limit`.
  void Post(std::function<void()> job, size_t limit = kMaxJobs);
  void Answer(Reply reply);
  void Keep(GstMessage *message);

  std::function<void()> wake_;
  GstRef<GstElement> pipeline_;
  GstRef<GstAppSink> sink_;

  std::mutex mutex_;
  std::condition_variable has_job_;
  std::deque<std::function<void()>> jobs_;  // guarded by mutex_
  std::vector<Reply> replies_;              // guarded by mutex_
  std::vector<BusMessage> messages_;        // guarded by mutex_
  uint32_t lost_messages_ = 0;              // guarded by mutex_
  bool ending_ = false;                     // guarded by mutex_
  std::thread thread_;
};

}  // namespace vsockenc

#endif  // VSOCKENC_GUEST_BRIDGE_NATIVE_PIPELINE_H_
