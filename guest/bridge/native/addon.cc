#include "addon.h"

#include <memory>
#include <mutex>
#include <utility>

#include "pipeline.h"

namespace vsockenc {
namespace {

// More than the appsink holds, so that the samples before a message are delivered before it, and
// few enough not to starve other work.
constexpr int kMaxSamplesAtOnce = 64;

// Microseconds, or undefined where there is no time.
Napi::Value Microseconds(Napi::Env env, GstClockTime time) {
  if (!GST_CLOCK_TIME_IS_VALID(time)) return env.Undefined();
  return Napi::Number::New(env, static_cast<double>(time / GST_USECOND));
}

Napi::Error JavaScriptError(Napi::Env env, const PipelineError &error) {
  Napi::Error result = Napi::Error::New(env, error.what());
  result.Set("kind", Napi::String::New(env, error.kind()));
  return result;
}

// Runs `action` and throws its PipelineError to JavaScript.
template <typename Action>
auto Translated(Napi::Env env, Action action) {
  try {
    return action();
  } catch (const PipelineError &error) {
    throw JavaScriptError(env, error);
  }
}

Napi::Object ReplyObject(Napi::Env env, const Reply &reply) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("kind", "reply");
  object.Set("token", reply.token);
  object.Set("failure", reply.failure);
  if (reply.latency) {
    Napi::Object latency = Napi::Object::New(env);
    latency.Set("live", reply.latency->live);
    latency.Set("minUs", Microseconds(env, reply.latency->min));
    latency.Set("maxUs", Microseconds(env, reply.latency->max));
    object.Set("latency", latency);
  }
  return object;
}

Napi::Object MessageObject(Napi::Env env, const BusMessage &message) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("kind", message.kind);
  object.Set("element", message.element);
  object.Set("factory", message.factory);
  object.Set("domain", message.domain);
  object.Set("code", message.code);
  object.Set("text", message.text);
  object.Set("debug", message.debug);
  object.Set("count", message.count);
  return object;
}

uint32_t Token(const Napi::Value &value) {
  return value.As<Napi::Number>().Uint32Value();
}

std::string Text(const Napi::Value &value) {
  return value.As<Napi::String>().Utf8Value();
}

class PipelineBinding : public Napi::ObjectWrap<PipelineBinding> {
 public:
  // Throws an Error with `kind`.
  explicit PipelineBinding(const Napi::CallbackInfo &info) : ObjectWrap(info) {
    Napi::Env env = info.Env();
    waker_ = std::make_unique<Waker>(*this, env, info[2].As<Napi::Function>());
    try {
      pipeline_ = std::make_unique<Pipeline>(Text(info[0]), Text(info[1]),
                                             [waker = waker_.get()] { waker->Wake(); });
    } catch (const PipelineError &error) {
      waker_->End();
      throw JavaScriptError(env, error);
    }
    Ref();
    // Runs before the environment frees the function that the pipeline's threads call.
    napi_add_env_cleanup_hook(env, OnEnvironmentEnd, this);
  }
  ~PipelineBinding() override { End(); }

  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "NativePipeline",
                       {
                           InstanceMethod<&PipelineBinding::SetState>("setState"),
                           InstanceMethod<&PipelineBinding::QueryLatency>("queryLatency"),
                           InstanceMethod<&PipelineBinding::ForceKeyUnit>("forceKeyUnit"),
                           InstanceMethod<&PipelineBinding::Close>("close"),
                           InstanceMethod<&PipelineBinding::Dispose>("dispose"),
                           InstanceMethod<&PipelineBinding::Elements>("elements"),
                           InstanceMethod<&PipelineBinding::GetProperty>("getProperty"),
                           InstanceMethod<&PipelineBinding::SetProperty>("setProperty"),
                       });
  }

 private:
  // Calls Deliver on the JavaScript thread, once for all wake-ups since the previous call. The only
  // way from other threads to JavaScript.
  class Waker {
   public:
    Waker(PipelineBinding &binding, Napi::Env env, Napi::Function listener)
        : function_(Function::New(env, listener, "gstreamer pipeline", 0, 1, &binding)) {}

    void Wake() {
      const std::lock_guard lock(mutex_);
      if (!reachable_ || std::exchange(pending_, true)) return;
      // The environment closes; the function must not be used again after that status.
      if (function_.NonBlockingCall(this) != napi_ok) reachable_ = false;
    }

    void End() {
      const std::lock_guard lock(mutex_);
      if (std::exchange(reachable_, false)) function_.Abort();
    }

   private:
    static void Call(Napi::Env env, Napi::Function listener, PipelineBinding *binding,
                     Waker *waker) {
      if (static_cast<napi_env>(env) == nullptr) return;  // the environment closes
      {
        const std::lock_guard lock(waker->mutex_);
        waker->pending_ = false;
      }
      binding->Deliver(env, listener);
    }
    using Function = Napi::TypedThreadSafeFunction<PipelineBinding, Waker, Call>;

    Function function_;
    std::mutex mutex_;
    bool reachable_ = true;  // guarded by mutex_
    bool pending_ = false;   // guarded by mutex_
  };

  void SetState(const Napi::CallbackInfo &info) {
    const GstState state = Text(info[0]) == "playing" ? GST_STATE_PLAYING : GST_STATE_PAUSED;
    Translated(info.Env(), [&] { Open(info).SetState(Token(info[1]), state); });
  }

  void QueryLatency(const Napi::CallbackInfo &info) {
    Translated(info.Env(), [&] { Open(info).QueryLatency(Token(info[0])); });
  }

  void ForceKeyUnit(const Napi::CallbackInfo &info) {
    Translated(info.Env(), [&] { Open(info).ForceKeyUnit(); });
  }

  void Close(const Napi::CallbackInfo &info) { Open(info).Close(Token(info[0])); }

  // Does not block after Close has been answered.
  void Dispose(const Napi::CallbackInfo &info) {
    Open(info);
    napi_remove_env_cleanup_hook(info.Env(), OnEnvironmentEnd, this);
    End();
    Unref();
  }

  Napi::Value Elements(const Napi::CallbackInfo &info) {
    Napi::Array list = Napi::Array::New(info.Env());
    for (const auto &[name, factory] : Open(info).Elements()) {
      Napi::Object element = Napi::Object::New(info.Env());
      element.Set("name", name);
      element.Set("factory", factory);
      list.Set(list.Length(), element);
    }
    return list;
  }

  Napi::Value GetProperty(const Napi::CallbackInfo &info) {
    return Translated(info.Env(), [&] {
      const auto element = Open(info).Element(Text(info[0]));
      return vsockenc::GetProperty(info.Env(), element.get(), Text(info[1]));
    });
  }

  void SetProperty(const Napi::CallbackInfo &info) {
    Translated(info.Env(), [&] {
      const auto element = Open(info).Element(Text(info[0]));
      vsockenc::SetProperty(element.get(), Text(info[1]), info[2]);
    });
  }

  // Throws a JavaScript error after dispose().
  Pipeline &Open(const Napi::CallbackInfo &info) const {
    if (!pipeline_) throw Napi::Error::New(info.Env(), "the pipeline has been disposed of");
    return *pipeline_;
  }

  // Hands everything that waits to the listener. Samples that precede a message are delivered
  // before it: messages are taken first and delivered last.
  void Deliver(Napi::Env env, Napi::Function listener) {
    if (!pipeline_) return;
    const std::vector<BusMessage> messages = pipeline_->TakeMessages();
    const std::vector<Reply> replies = pipeline_->TakeReplies();
    int samples = 0;
    while (pipeline_ && samples < kMaxSamplesAtOnce && DeliverSample(env, listener)) samples++;
    if (samples == kMaxSamplesAtOnce) waker_->Wake();
    for (const BusMessage &message : messages) listener.Call({MessageObject(env, message)});
    for (const Reply &reply : replies) listener.Call({ReplyObject(env, reply)});
  }

  bool DeliverSample(Napi::Env env, Napi::Function listener) {
    const SampleRef sample = pipeline_->TakeSample();
    if (sample == nullptr) return false;
    GstBuffer *buffer = gst_sample_get_buffer(sample.get());
    if (buffer == nullptr) return true;
    const Napi::HandleScope scope(env);
    Napi::Object object = Napi::Object::New(env);
    object.Set("kind", "sample");
    const GstCaps *caps = gst_sample_get_caps(sample.get());
    const GstStructure *format = caps == nullptr ? nullptr : gst_caps_get_structure(caps, 0);
    object.Set("media", format == nullptr ? "" : gst_structure_get_name(format));
    object.Set("ptsUs", Microseconds(env, GST_BUFFER_PTS(buffer)));
    object.Set("durationUs", Microseconds(env, GST_BUFFER_DURATION(buffer)));
    object.Set("key", !GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT));
    object.Set("ageUs",
               Microseconds(env, pipeline_->Age(sample.get()).value_or(GST_CLOCK_TIME_NONE)));
    auto bytes = Napi::Buffer<uint8_t>::New(env, gst_buffer_get_size(buffer));
    gst_buffer_extract(buffer, 0, bytes.Data(), bytes.Length());
    object.Set("data", bytes);
    listener.Call({object});
    return true;
  }

  static void OnEnvironmentEnd(void *self) { static_cast<PipelineBinding *>(self)->End(); }

  // Frees the pipeline. Nothing is delivered afterwards.
  void End() {
    if (!pipeline_) return;
    waker_->End();
    pipeline_.reset();
  }

  std::unique_ptr<Waker> waker_;
  std::unique_ptr<Pipeline> pipeline_;
};

Napi::Object Initialize(Napi::Env env, Napi::Object exports) {
  // No arguments: environment variables configure GStreamer, not the bridge's command line.
  GError *error = nullptr;
  if (!gst_init_check(nullptr, nullptr, &error)) {
    const std::string text = error == nullptr ? "unknown reason" : error->message;
    g_clear_error(&error);
    throw Napi::Error::New(env, "cannot initialise GStreamer: " + text);
  }
  exports.Set("NativePipeline", PipelineBinding::Define(env));
  exports.Set("createInputDevice", Napi::Function::New(env, CreateInputDevice));
  return exports;
}

}  // namespace

NODE_API_MODULE(gst, Initialize)

}  // namespace vsockenc
