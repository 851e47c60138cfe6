#include "pipeline.h"

#include <gst/video/video-event.h>

#include <algorithm>
#include <system_error>
#include <utility>

namespace vsockenc {
namespace {

// Messages that the event loop has not taken; a failing pipeline posts a few.
constexpr size_t kMaxMessages = 64;

using ErrorRef = std::unique_ptr<GError, FreeBy<g_error_free>>;

std::string MissingElements(GstParseContext *context) {
  std::string names;
  gchar **missing = gst_parse_context_get_missing_elements(context);
  for (gchar **name = missing; name != nullptr && *name != nullptr; name++) {
    names += (names.empty() ? "" : ", ") + std::string(*name);
  }
  g_strfreev(missing);
  return names;
}

GstRef<GstElement> Parse(const std::string &description) {
  const std::unique_ptr<GstParseContext, FreeBy<gst_parse_context_free>> context(
      gst_parse_context_new());
  GError *raw_error = nullptr;
  GstElement *parsed = gst_parse_launch_full(description.c_str(), context.get(),
                                             GST_PARSE_FLAG_FATAL_ERRORS, &raw_error);
  const ErrorRef error(raw_error);
  GstRef<GstElement> element(parsed == nullptr ? nullptr
                                               : GST_ELEMENT(gst_object_ref_sink(parsed)));
  if (error != nullptr || element == nullptr) {
    if (g_error_matches(raw_error, GST_PARSE_ERROR, GST_PARSE_ERROR_NO_SUCH_ELEMENT)) {
      throw PipelineError("missing-element", MissingElements(context.get()));
    }
    throw PipelineError("parse", error == nullptr ? "empty description" : error->message);
  }
  if (GST_IS_PIPELINE(element.get())) return element;
  // A single element is not a pipeline, which has the bus and the clock.
  GstRef<GstElement> pipeline(GST_ELEMENT(gst_object_ref_sink(gst_pipeline_new(nullptr))));
  gst_bin_add(GST_BIN(pipeline.get()), element.get());
  return pipeline;
}

std::string FactoryName(GstObject *object) {
  if (object == nullptr || !GST_IS_ELEMENT(object)) return "";
  GstElementFactory *factory = gst_element_get_factory(GST_ELEMENT(object));
  return factory == nullptr ? "" : GST_OBJECT_NAME(factory);
}

using ParseMessage = void (*)(GstMessage *, GError **, gchar **);

// The delivered messages; `parse` reads their error.
constexpr struct {
  GstMessageType type;
  const char *kind;
  ParseMessage parse;
} kMessages[] = {{GST_MESSAGE_ERROR, "error", gst_message_parse_error},
                 {GST_MESSAGE_WARNING, "warning", gst_message_parse_warning},
                 {GST_MESSAGE_INFO, "info", gst_message_parse_info},
                 {GST_MESSAGE_EOS, "eos", nullptr},
                 {GST_MESSAGE_LATENCY, "latency", nullptr}};

void ReadError(GstMessage *message, ParseMessage parse, BusMessage *result) {
  GError *raw_error = nullptr;
  gchar *debug = nullptr;
  parse(message, &raw_error, &debug);
  const ErrorRef error(raw_error);
  result->domain = g_quark_to_string(error->domain);
  result->code = error->code;
  result->text = error->message;
  if (debug != nullptr) result->debug = debug;
  g_free(debug);
}

}  // namespace

Pipeline::Pipeline(const std::string &description, const std::string &sink,
                   std::function<void()> wake)
    : wake_(std::move(wake)), pipeline_(Parse(description)) {
  GstRef<GstElement> found(gst_bin_get_by_name(GST_BIN(pipeline_.get()), sink.c_str()));
  if (found == nullptr || !GST_IS_APP_SINK(found.get())) {
    throw PipelineError("sink", "no appsink with name=" + sink);
  }
  sink_.reset(GST_APP_SINK(found.release()));
  try {
    thread_ = std::thread([this] { Run(); });
  } catch (const std::system_error &error) {
    throw PipelineError("system", std::string("cannot start its thread: ") + error.what());
  }
  GstAppSinkCallbacks callbacks = {};
  callbacks.new_sample = [](GstAppSink *, gpointer self) {
    static_cast<Pipeline *>(self)->wake_();
    return GST_FLOW_OK;
  };
  gst_app_sink_set_callbacks(sink_.get(), &callbacks, this, nullptr);
  const GstRef<GstBus> bus(gst_element_get_bus(pipeline_.get()));
  const auto on_message = [](GstBus *, GstMessage *message, gpointer self) {
    static_cast<Pipeline *>(self)->Keep(message);
    // Dropped, because the bus's own list is unbounded.
    gst_message_unref(message);
    return GST_BUS_DROP;
  };
  gst_bus_set_sync_handler(bus.get(), on_message, this, nullptr);
}

Pipeline::~Pipeline() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  has_job_.notify_one();
  thread_.join();
}

void Pipeline::SetState(uint32_t token, GstState state) {
  Post([this, token, state] {
    const bool failed = gst_element_set_state(pipeline_.get(), state) == GST_STATE_CHANGE_FAILURE;
    const std::string text =
        std::string("an element rejected the state ") + gst_element_state_get_name(state);
    Answer({token, failed ? text : "", {}});
  });
}

void Pipeline::QueryLatency(uint32_t token) {
  Post([this, token] {
    const std::unique_ptr<GstQuery, FreeBy<gst_query_unref>> query(gst_query_new_latency());
    if (!gst_element_query(pipeline_.get(), query.get())) {
      Answer({token, "the latency is unknown in this state", {}});
      return;
    }
    gboolean live = FALSE;
    Latency latency = {};
    gst_query_parse_latency(query.get(), &live, &latency.min, &latency.max);
    latency.live = live != FALSE;
    Answer({token, "", latency});
  });
}

void Pipeline::ForceKeyUnit() {
  Post([this] {
    // No running time: at once. The sink sends it upstream, to the encoder.
    GstEvent *event =
        gst_video_event_new_upstream_force_key_unit(GST_CLOCK_TIME_NONE, /*all_headers=*/TRUE, 0);
    gst_element_send_event(GST_ELEMENT(sink_.get()), event);
  });
}

void Pipeline::Close(uint32_t token) {
  const auto job = [this, token] {
    gst_element_set_state(pipeline_.get(), GST_STATE_NULL);
    Answer({token, "", {}});
  };
  Post(job, SIZE_MAX);
}

GstRef<GstElement> Pipeline::Element(const std::string &name) const {
  GstRef<GstElement> element(gst_bin_get_by_name(GST_BIN(pipeline_.get()), name.c_str()));
  if (element == nullptr) throw PipelineError("no-element", "no element named " + name);
  return element;
}

std::vector<std::pair<std::string, std::string>> Pipeline::Elements() const {
  std::vector<std::pair<std::string, std::string>> elements;
  const std::unique_ptr<GstIterator, FreeBy<gst_iterator_free>> iterator(
      gst_bin_iterate_recurse(GST_BIN(pipeline_.get())));
  const auto add = [](const GValue *item, gpointer list) {
    auto *object = GST_OBJECT(g_value_get_object(item));
    static_cast<decltype(elements) *>(list)->emplace_back(GST_OBJECT_NAME(object),
                                                          FactoryName(object));
  };
  while (gst_iterator_foreach(iterator.get(), add, &elements) == GST_ITERATOR_RESYNC) {
    elements.clear();
    gst_iterator_resync(iterator.get());
  }
  return elements;
}

std::vector<Reply> Pipeline::TakeReplies() {
  const std::lock_guard lock(mutex_);
  return std::exchange(replies_, {});
}

std::vector<BusMessage> Pipeline::TakeMessages() {
  const std::lock_guard lock(mutex_);
  std::vector<BusMessage> messages = std::exchange(messages_, {});
  if (lost_messages_ > 0) {
    BusMessage lost = {};
    lost.kind = "lost";
    lost.count = std::exchange(lost_messages_, 0);
    messages.push_back(std::move(lost));
  }
  return messages;
}

std::optional<GstClockTime> Pipeline::Age(GstSample *sample) const {
  GstBuffer *buffer = gst_sample_get_buffer(sample);
  const GstClockTime begun = gst_segment_to_running_time(gst_sample_get_segment(sample),
                                                         GST_FORMAT_TIME, GST_BUFFER_PTS(buffer));
  const GstClockTime now = gst_element_get_current_running_time(pipeline_.get());
  if (!GST_CLOCK_TIME_IS_VALID(begun) || !GST_CLOCK_TIME_IS_VALID(now) || now < begun) return {};
  return now - begun;
}

void Pipeline::Keep(GstMessage *message) {
  const auto *known =
      std::find_if(std::begin(kMessages), std::end(kMessages),
                   [&](const auto &kind) { return kind.type == GST_MESSAGE_TYPE(message); });
  if (known == std::end(kMessages)) return;
  BusMessage result = {};
  result.kind = known->kind;
  if (known->parse != nullptr) ReadError(message, known->parse, &result);
  if (GST_MESSAGE_SRC(message) != nullptr) {
    result.element = GST_OBJECT_NAME(GST_MESSAGE_SRC(message));
    result.factory = FactoryName(GST_MESSAGE_SRC(message));
  }
  const bool latency = GST_MESSAGE_TYPE(message) == GST_MESSAGE_LATENCY;
  {
    const std::lock_guard lock(mutex_);
    if (ending_) return;
    // Not on this thread: its element may hold locks.
    if (latency && jobs_.size() < kMaxJobs) {
      jobs_.push_back([this] { gst_bin_recalculate_latency(GST_BIN(pipeline_.get())); });
    }
    if (messages_.size() < kMaxMessages)
      messages_.push_back(std::move(result));
    else
      lost_messages_++;
  }
  if (latency) has_job_.notify_one();
  wake_();
}

void Pipeline::Post(std::function<void()> job, size_t limit) {
  {
    const std::lock_guard lock(mutex_);
    if (jobs_.size() >= limit) throw PipelineError("busy", "a change of state has not ended");
    jobs_.push_back(std::move(job));
  }
  has_job_.notify_one();
}

void Pipeline::Answer(Reply reply) {
  {
    const std::lock_guard lock(mutex_);
    replies_.push_back(std::move(reply));
  }
  wake_();
}

void Pipeline::Run() {
  while (true) {
    std::function<void()> job;
    {
      std::unique_lock lock(mutex_);
      has_job_.wait(lock, [this] { return ending_ || !jobs_.empty(); });
      if (ending_) break;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job();
  }
  // No effect after Close. It ends the streaming threads, hence the callbacks.
  gst_element_set_state(pipeline_.get(), GST_STATE_NULL);
  const GstRef<GstBus> bus(gst_element_get_bus(pipeline_.get()));
  gst_bus_set_sync_handler(bus.get(), nullptr, nullptr, nullptr);
}

}  // namespace vsockenc
