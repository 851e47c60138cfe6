#include "session_binding.h"

#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <variant>

#include "../encoder/lavc_encoder.h"
#include "../encoder/session.h"
#include "picture_binding.h"

#ifdef VSOCKENC_VIDEOTOOLBOX
#include "../../videotoolbox/encoder.h"
#endif

namespace vsockenc {
namespace {

int Integer(const Napi::Object &from, const char *key) {
  return from.Get(key).As<Napi::Number>().Int32Value();
}

std::string Text(const Napi::Object &from, const char *key) {
  return from.Get(key).As<Napi::String>().Utf8Value();
}

Fraction ReadFraction(const Napi::Object &from, const char *key) {
  const auto value = from.Get(key).As<Napi::Object>();
  return {Integer(value, "numerator"), Integer(value, "denominator")};
}

ColourDescription ReadColour(const Napi::Object &from) {
  const auto colour = from.Get("colorimetry").As<Napi::Object>();
  return {
      .primaries = Integer(colour, "primaries"),
      .transfer = Integer(colour, "transfer"),
      .matrix = Integer(colour, "matrix"),
      .full_range = colour.Get("fullRange").ToBoolean(),
  };
}

Rates ReadRates(const Napi::Object &from) {
  return {.bits_per_second = from.Get("bitsPerSecond").As<Napi::Number>().Int64Value(),
          .peak_bits_per_second = from.Get("peakBitsPerSecond").As<Napi::Number>().Int64Value(),
          .buffer_bits = Integer(from, "bufferBits")};
}

void ReadStream(const Napi::Object &from, StreamSettings &to) {
  to.width = Integer(from, "width");
  to.height = Integer(from, "height");
  to.framerate = ReadFraction(from, "framerate");
  to.fixed_rate = from.Get("fixedRate").ToBoolean();
  to.pixel_aspect_ratio = ReadFraction(from, "pixelAspectRatio");
  to.colour = ReadColour(from);
  to.rgb = from.Get("rgb").ToBoolean();
  to.rates = ReadRates(from.Get("rates").As<Napi::Object>());
  to.keyframe_interval = Integer(from, "keyframeInterval");
}

EncoderInput ReadInput(const Napi::Object &from) {
  const std::string input = Text(from, "input");
  if (input == "vaapi") return EncoderInput::kVaapi;
  return input == "nv12" ? EncoderInput::kNv12 : EncoderInput::kI420;
}

LavcSettings ReadLavc(const Napi::Object &from) {
  LavcSettings settings{};
  ReadStream(from, settings);
  settings.name = Text(from, "name");
  settings.input = ReadInput(from);
  settings.device = Text(from, "device");
  settings.live_rate = from.Get("liveRate").ToBoolean();
  settings.threads = Integer(from, "threads");
  const auto options = from.Get("options").As<Napi::Object>();
  const Napi::Array keys = options.GetPropertyNames();
  for (uint32_t i = 0; i < keys.Length(); ++i) {
    const Napi::Value key = keys[i];
    settings.options.emplace_back(key.ToString().Utf8Value(),
                                  options.Get(key).ToString().Utf8Value());
  }
  return settings;
}

#ifdef VSOCKENC_VIDEOTOOLBOX
vt::Profile ReadProfile(const Napi::Object &from) {
  const std::string profile = Text(from, "profile");
  if (profile == "constrained-baseline") return vt::Profile::kConstrainedBaseline;
  return profile == "main" ? vt::Profile::kMain : vt::Profile::kHigh;
}

vt::Settings ReadVideoToolbox(const Napi::Object &from) {
  vt::Settings settings{};
  ReadStream(from, settings);
  settings.codec = Text(from, "codec") == "h265" ? vt::Codec::kHevc : vt::Codec::kH264;
  settings.profile = ReadProfile(from);
  return settings;
}
#endif

bool IsVideoToolbox(const Napi::Object &settings) {
  return Text(settings, "backend") == "videotoolbox";
}

// The encoder that NativeSettings of host/encoders/native.ts describes. Throws
// Napi::TypeError if this addon was built without it.
EncoderFactory ReadEncoder(const Napi::Object &settings) {
  if (!IsVideoToolbox(settings)) return OpenLavc(ReadLavc(settings));
#ifdef VSOCKENC_VIDEOTOOLBOX
  return vt::OpenVideoToolbox(ReadVideoToolbox(settings));
#else
  throw Napi::TypeError::New(settings.Env(), "this addon was built without VideoToolbox");
#endif
}

// The objects of SessionEvent in host/encoders/native.ts. Those of EncoderEvent in
// host/encoders/encoder.ts reach the stream or head that encodes as they are.
Napi::Object ObjectOf(Napi::Env env, const SessionEvent &event) {
  const Napi::Object object = Napi::Object::New(env);
  const auto kind = [&object](const char *name) { object.Set("kind", name); };
  const auto frame = [&](const char *name, uint32_t number) {
    kind(name);
    object.Set("frame", number);
  };
  const auto message = [&](const char *name, const std::string &text) {
    kind(name);
    object.Set("message", text);
  };
  std::visit(Match{[&](const event::Opened &) { kind("opened"); },
                   [&](const event::OpenFailed &failed) { message("open-failed", failed.message); },
                   [&](const event::Read &read) { frame("read", read.frame); },
                   [&](const event::Packet &packet) {
                     frame("packet", packet.frame);
                     object.Set("key", packet.unit.key);
                     // The only copy of an access unit. An external buffer would avoid it, but
                     // needs a finalizer and memory that the garbage collector does not see.
                     const auto &bytes = packet.unit.bytes;
                     object.Set("data",
                                Napi::Buffer<uint8_t>::Copy(env, bytes.data(), bytes.size()));
                     object.Set("queueUs", packet.times.queue_us);
                     object.Set("convertUs", packet.times.convert_us);
                     object.Set("encodeUs", packet.times.encode_us);
                   },
                   [&](const event::Dropped &dropped) {
                     frame("dropped", dropped.frame);
                     const bool flushed = dropped.reason == event::DropReason::kFlushed;
                     object.Set("reason", flushed ? "flushed" : "encoder");
                   },
                   [&](const event::FrameFailed &failed) {
                     message("frame-failed", failed.message);
                     object.Set("frame", failed.frame);
                   },
                   [&](const event::Note &note) { message("note", note.message); },
                   [&](const event::Failed &failed) { message("failed", failed.message); },
                   [&](const event::Passed &passed) {
                     kind("passed");
                     object.Set("token", passed.token);
                   },
                   [&](const event::Closed &) { kind("closed"); },
                   [](const event::Attention &) {}},  // the session keeps these
             event);
  return object;
}

// The surface itself for an encoder that reads IOSurfaces; other encoders read the picture, which
// copies it.
FrameSource SourceIn(std::shared_ptr<const Picture> picture, bool takes_surfaces) {
  const Surface *surface = takes_surfaces ? picture->surface() : nullptr;
  if (surface == nullptr) return picture;
  return std::shared_ptr<const Surface>(std::move(picture), surface);
}

struct NoContext {};

void Deliver(Napi::Env env, Napi::Function listener, NoContext *, SessionEvent *raw) {
  const std::unique_ptr<SessionEvent> event(raw);
  if (static_cast<napi_env>(env) == nullptr) return;  // the environment is ending
  listener.Call({ObjectOf(env, *event)});
}

using Listener = Napi::TypedThreadSafeFunction<NoContext, SessionEvent, Deliver>;

// Passes the events of a session, which may come on two threads, to the JavaScript thread, in order
// and without waiting. The queue between them is bounded by the frames in flight, three events for
// each, and a note for each attempt to recover an encoder.
class EventPoster : public EventSink {
 public:
  EventPoster(Napi::Env env, Napi::Function listener)
      : listener_(Listener::New(env, listener, "encoder session", 0, 1)) {}

  void On(SessionEvent event) override {
    const bool last = std::holds_alternative<event::Closed>(event);
    {
      const std::lock_guard lock(mutex_);
      if (!reachable_) return;
      auto raw = std::make_unique<SessionEvent>(std::move(event));
      // Once the environment is ending, the function must not be used again.
      reachable_ = listener_.NonBlockingCall(raw.get()) == napi_ok;
      if (reachable_) raw.release();
    }
    if (last) Release();
  }
  // No event follows; an unreleased function would keep the process from exiting.
  void Release() {
    const std::lock_guard lock(mutex_);
    if (reachable_) listener_.Release();
    reachable_ = false;
  }

 private:
  Listener listener_;
  std::mutex mutex_;
  bool reachable_ = true;  // guarded by mutex_
};

class SessionBinding : public Napi::ObjectWrap<SessionBinding> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "NativeSession",
                       {
                           InstanceMethod<&SessionBinding::Encode>("encode"),
                           InstanceMethod<&SessionBinding::Reconfigure>("reconfigure"),
                           InstanceMethod<&SessionBinding::Mark>("mark"),
                           InstanceMethod<&SessionBinding::Flush>("flush"),
                           InstanceMethod<&SessionBinding::Close>("close"),
                           InstanceMethod<&SessionBinding::Join>("join"),
                           InstanceMethod<&SessionBinding::Abandon>("abandon"),
                       });
  }

  // new (settings, onEvent). The object keeps itself alive until join() has settled or abandon().
  explicit SessionBinding(const Napi::CallbackInfo &info) : ObjectWrap(info) {
    const auto settings = info[0].As<Napi::Object>();
    EncoderFactory open = ReadEncoder(settings);
    takes_surfaces_ = IsVideoToolbox(settings);
    poster_ = std::make_unique<EventPoster>(info.Env(), info[1].As<Napi::Function>());
    try {
      session_ = std::make_unique<Session>(std::move(open), *poster_);
    } catch (const std::exception &error) {
      poster_->Release();
      throw Napi::Error::New(info.Env(),
                             std::string("cannot start the session's thread: ") + error.what());
    }
    Ref();
  }

 private:
  // Joins the session's thread on a thread of libuv's pool. Queued after the Closed event, so the
  // thread is about to end.
  class JoinWorker : public Napi::AsyncWorker {
   public:
    explicit JoinWorker(SessionBinding &binding)
        : AsyncWorker(binding.Env()),
          binding_(binding),
          session_(std::move(binding.session_)),
          deferred_(Napi::Promise::Deferred::New(binding.Env())) {}

    Napi::Promise Promise() const { return deferred_.Promise(); }

   protected:
    void Execute() override { session_.reset(); }
    void OnOK() override {
      binding_.Unref();
      deferred_.Resolve(Env().Undefined());
    }

   private:
    SessionBinding &binding_;  // holds itself until Unref
    std::unique_ptr<Session> session_;
    Napi::Promise::Deferred deferred_;
  };

  // encode(picture, frame, forceKeyFrame)
  void Encode(const Napi::CallbackInfo &info) {
    if (!session_) return;
    session_->Encode(info[1].As<Napi::Number>().Uint32Value(),
                     SourceIn(PictureBinding::Share(info[0]), takes_surfaces_),
                     info[2].ToBoolean());
  }

  // reconfigure(rates, keyframeInterval)
  void Reconfigure(const Napi::CallbackInfo &info) {
    if (!session_) return;
    session_->Reconfigure(ReadRates(info[0].As<Napi::Object>()),
                          info[1].As<Napi::Number>().Int32Value());
  }

  // mark(token): a "passed" event when everything before it has been answered.
  void Mark(const Napi::CallbackInfo &info) {
    if (session_) session_->Mark(info[0].As<Napi::Number>().Uint32Value());
  }

  // flush(): queued frames are answered without being encoded.
  void Flush(const Napi::CallbackInfo &) {
    if (session_) session_->CancelFrames();
  }

  // close(): a "closed" event follows as the last one.
  void Close(const Napi::CallbackInfo &) {
    if (session_) session_->Close();
  }

  // join(): Promise<void>. Once only, after the "closed" event.
  Napi::Value Join(const Napi::CallbackInfo &) {
    auto *worker = new JoinWorker(*this);
    const Napi::Promise promise = worker->Promise();
    worker->Queue();  // it deletes itself
    return promise;
  }

  // abandon(): neither this object's end nor the environment's waits for the thread. What the
  // thread uses stays until the process ends.
  void Abandon(const Napi::CallbackInfo &) {
    if (!session_) return;
    poster_.release()->Release();
    session_.release()->Abandon();
    Unref();
  }

  bool takes_surfaces_ = false;  // its encoder reads IOSurfaces as they are
  std::unique_ptr<EventPoster> poster_;
  // After poster_, which its thread uses to the end. join() moves it out.
  std::unique_ptr<Session> session_;
};

}  // namespace

void RegisterSession(Napi::Env env, Napi::Object exports) {
  exports.Set("NativeSession", SessionBinding::Define(env));
}

}  // namespace vsockenc
