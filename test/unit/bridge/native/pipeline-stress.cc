// Pipelines that are read to their end, cut off in each state, and post more messages than fit.
// Sanitizers check memory; Expect() checks behaviour.
#include "pipeline.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace {

using vsockenc::BusMessage;
using vsockenc::Pipeline;
using vsockenc::PipelineError;
using vsockenc::Reply;

constexpr int kSamples = 50;
constexpr int kCuts = 30;
constexpr int kTalk = 100;
const char kText[] =
    "videotestsrc num-buffers=50 ! video/x-raw,width=16,height=16 ! appsink name=videosink "
    "sync=false max-buffers=2";

void Expect(bool condition, const char *what) {
  if (condition) return;
  std::fprintf(stderr, "failed: %s\n", what);
  std::exit(1);
}

// The event loop of the test: waits until woken.
struct Wakes {
  void Wake() {
    woken = true;
    woken.notify_one();
  }
  void Wait() {
    woken.wait(false);
    woken = false;
  }
  std::atomic<bool> woken = false;
};

// Reads until the reply with this token, and returns it; counts samples and ends on the way.
Reply ReadUntil(Pipeline *pipeline, Wakes *wakes, uint32_t token, int *samples, bool until_end) {
  bool ended = !until_end;
  std::optional<Reply> reply;
  while (true) {
    const std::vector<BusMessage> messages = pipeline->TakeMessages();
    while (pipeline->TakeSample() != nullptr) ++*samples;
    for (const BusMessage &message : messages) ended |= std::string(message.kind) == "eos";
    for (Reply &each : pipeline->TakeReplies()) {
      if (each.token == token) reply = std::move(each);
    }
    if (ended && reply) return *reply;
    wakes->Wait();
  }
}

void ReadToTheEnd() {
  Wakes wakes;
  Pipeline pipeline(kText, "videosink", [&] { wakes.Wake(); });
  int samples = 0;
  pipeline.SetState(1, GST_STATE_PLAYING);
  pipeline.ForceKeyUnit();
  Expect(ReadUntil(&pipeline, &wakes, 1, &samples, true).failure.empty(), "it plays");
  Expect(samples == kSamples, "every sample came before the end");
  pipeline.QueryLatency(2);
  ReadUntil(&pipeline, &wakes, 2, &samples, false);
  pipeline.Close(3);
  Expect(ReadUntil(&pipeline, &wakes, 3, &samples, false).failure.empty(), "it closes");
  Expect(pipeline.Elements().size() == 3, "three elements");
}

// The destructor alone, while the streaming thread waits for room in the sink.
void CutOff() {
  for (int cut = 0; cut < kCuts; cut++) {
    Wakes wakes;
    Pipeline pipeline(kText, "videosink", [&] { wakes.Wake(); });
    pipeline.SetState(1, cut % 2 == 0 ? GST_STATE_PLAYING : GST_STATE_PAUSED);
    if (cut % 4 != 0) wakes.Wait();
    if (cut % 3 == 0) pipeline.TakeSample();
  }
}

void Refuse() {
  for (const char *text : {"", "nosuch ! fakesink", "videotestsrc !", "videotestsrc ! fakesink",
                           "videotestsrc nosuch=1 ! appsink name=videosink"}) {
    bool refused = false;
    try {
      Pipeline pipeline(text, "videosink", [] {});
    } catch (const PipelineError &) {
      refused = true;
    }
    Expect(refused, text);
  }
}

void Flood() {
  Wakes wakes;
  Pipeline pipeline(kText, "videosink", [&] { wakes.Wake(); });
  const auto element = pipeline.Element("videosink");
  for (int i = 0; i < kTalk; i++) {
    GError *error = g_error_new(GST_STREAM_ERROR, GST_STREAM_ERROR_FAILED, "warning %d", i);
    gst_element_post_message(element.get(),
                             gst_message_new_warning(GST_OBJECT(element.get()), error, "debug"));
    g_error_free(error);
  }
  const std::vector<BusMessage> messages = pipeline.TakeMessages();
  Expect(messages.front().text == "warning 0" && messages.front().factory == "appsink",
         "the first");
  Expect(std::string(messages.back().kind) == "lost", "that some were lost");
  Expect(messages.size() - 1 + messages.back().count == kTalk, "how many were lost");
  Expect(pipeline.TakeMessages().empty(), "once");
}

}  // namespace

int main() {
  gst_init(nullptr, nullptr);
  ReadToTheEnd();
  CutOff();
  Refuse();
  Flood();
  gst_deinit();
  std::puts("done");
}
