#include "session_binding.h"

#include <exception>
#include <mutex>
#include <string>
#include <utility>
#include <variant>

#include "picture_binding.h"
#include "session_settings_binding.h"

namespace vsockenc {
namespace {

struct Opened {};
struct OpenFailed {
  std::string why;
};
struct Read {
  uint32_t frame;
};
struct Packet {
  uint32_t frame;
  AccessUnit unit;
  FrameTimes times;
};
struct Dropped {
  uint32_t frame;
  DropReason reason;
};
struct FrameFailed {
  uint32_t frame;
  std::string why;
};
struct Note {
  std::string text;
};
struct Failed {
  std::string why;
};
struct Passed {
  uint32_t token;
};
struct Closed {};
using Event = std::variant<Opened, OpenFailed, Read, Packet, Dropped, FrameFailed, Note, Failed,
                           Passed, Closed>;

// The objects that NativeEvent of host/encoders/native-session.ts describes.
class EventObject {
 public:
  explicit EventObject(Napi::Env env) : env_(env), object_(Napi::Object::New(env)) {}

  void operator()(const Opened &) { Kind("opened"); }
  void operator()(const OpenFailed &event) {
    Kind("open-failed");
    object_.Set("message", event.why);
  }
  void operator()(const Read &event) {
    Kind("read");
    object_.Set("frame", event.frame);
  }
  void operator()(const Packet &event) {
    Kind("packet");
    object_.Set("frame", event.frame);
    object_.Set("key", event.unit.key);
    // The only copy of an access unit. An external buffer would save it, and cost a finalizer and
    // memory that the collector does not see.
    object_.Set("data", Napi::Buffer<uint8_t>::Copy(env_, event.unit.bytes.data(),
                                                    event.unit.bytes.size()));
    object_.Set("queueUs", event.times.queue_us);
    object_.Set("convertUs", event.times.convert_us);
    object_.Set("encodeUs", event.times.encode_us);
  }
  void operator()(const Dropped &event) {
    Kind("dropped");
    object_.Set("frame", event.frame);
    object_.Set("reason", event.reason == DropReason::kFlushed ? "flushed" : "encoder");
  }
  void operator()(const FrameFailed &event) {
    Kind("frame-failed");
    object_.Set("frame", event.frame);
    object_.Set("message", event.why);
  }
  void operator()(const Note &event) {
    Kind("note");
    object_.Set("message", event.text);
  }
  void operator()(const Failed &event) {
    Kind("failed");
    object_.Set("message", event.why);
  }
  void operator()(const Passed &event) {
    Kind("passed");
    object_.Set("token", event.token);
  }
  void operator()(const Closed &) { Kind("closed"); }

  Napi::Object object() const { return object_; }

 private:
  void Kind(const char *kind) { object_.Set("kind", kind); }

  Napi::Env env_;
  Napi::Object object_;
};

bool IsVideoToolbox(const Napi::Object &settings) {
  const Napi::Value backend = settings.Get("backend");
  return backend.IsString() && backend.As<Napi::String>().Utf8Value() == "videotoolbox";
}

// A surface that an encoder can read as it is; for any other encoder the picture copies it.
FrameSource SourceIn(std::shared_ptr<const Picture> picture, bool takes_surfaces) {
  const Surface *surface = takes_surfaces ? picture->surface() : nullptr;
  if (surface == nullptr) return picture;
  return std::shared_ptr<const Surface>(std::move(picture), surface);
}

struct NoContext {};

void Deliver(Napi::Env env, Napi::Function listener, NoContext *, Event *raw) {
  const std::unique_ptr<Event> event(raw);
  if (static_cast<napi_env>(env) == nullptr) return;  // the environment is going away
  EventObject object(env);
  std::visit(object, *event);
  listener.Call({object.object()});
}

using Listener = Napi::TypedThreadSafeFunction<NoContext, Event, Deliver>;

}  // namespace

// Hands the events of a session, which may come on two threads, to the JavaScript thread, in order
// and without waiting. The queue between them is bounded by the frames in flight, three events for
// each, and a note for each attempt to mend an encoder.
class SessionBinding::EventPoster : public SessionEvents {
 public:
  EventPoster(Napi::Env env, Napi::Function listener)
      : listener_(Listener::New(env, listener, "encoder session", 0, 1)) {}

  void OnOpened() override { Post(Opened{}); }
  void OnOpenFailed(const std::string &why) override { Post(OpenFailed{why}); }
  void OnRead(uint32_t frame) override { Post(Read{frame}); }
  void OnPacket(uint32_t frame, AccessUnit unit, FrameTimes times) override {
    Post(Packet{frame, std::move(unit), times});
  }
  void OnDropped(uint32_t frame, DropReason reason) override { Post(Dropped{frame, reason}); }
  void OnFrameFailed(uint32_t frame, const std::string &why) override {
    Post(FrameFailed{frame, why});
  }
  void OnNote(const std::string &text) override { Post(Note{text}); }
  void OnFailed(const std::string &why) override { Post(Failed{why}); }
  void OnMark(uint32_t token) override { Post(Passed{token}); }
  void OnClosed() override {
    Post(Closed{});
    Abandon();
  }
  // No event will come; else the function would keep the process from ending.
  void Abandon() {
    const std::lock_guard lock(mutex_);
    if (reachable_) listener_.Release();
  }

 private:
  void Post(Event event) {
    const std::lock_guard lock(mutex_);
    if (!reachable_) return;
    auto *raw = new Event(std::move(event));
    if (listener_.NonBlockingCall(raw) != napi_ok) {
      // The environment is going away; after that answer the function must not be touched again.
      delete raw;
      reachable_ = false;
    }
  }

  Listener listener_;
  std::mutex mutex_;
  bool reachable_ = true;  // guarded by mutex_
};

// Waits for the session's thread on a thread of libuv's pool. Queued after the Closed event, so the
// thread has nothing left to do.
class SessionBinding::JoinWorker : public Napi::AsyncWorker {
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

void SessionBinding::Register(Napi::Env env, Napi::Object exports) {
  exports.Set("NativeSession",
              DefineClass(env, "NativeSession",
                          {
                              InstanceMethod<&SessionBinding::Encode>("encode"),
                              InstanceMethod<&SessionBinding::Reconfigure>("reconfigure"),
                              InstanceMethod<&SessionBinding::Mark>("mark"),
                              InstanceMethod<&SessionBinding::Flush>("flush"),
                              InstanceMethod<&SessionBinding::Close>("close"),
                              InstanceMethod<&SessionBinding::Join>("join"),
                          }));
}

SessionBinding::SessionBinding(const Napi::CallbackInfo &info) : ObjectWrap(info) {
  const auto settings = info[0].As<Napi::Object>();
  EncoderFactory open = ReadEncoder(settings);
  takes_surfaces_ = IsVideoToolbox(settings);
  poster_ = std::make_unique<EventPoster>(info.Env(), info[1].As<Napi::Function>());
  try {
    session_ = std::make_unique<Session>(std::move(open), *poster_);
  } catch (const std::exception &error) {
    poster_->Abandon();
    throw Napi::Error::New(info.Env(), std::string("no thread for the session: ") + error.what());
  }
  Ref();
}

// Only where the environment ends before the session: otherwise join() has let go of it already.
SessionBinding::~SessionBinding() = default;

// encode(picture, frame, forceKeyFrame)
Napi::Value SessionBinding::Encode(const Napi::CallbackInfo &info) {
  if (session_) {
    session_->Encode(info[1].As<Napi::Number>().Uint32Value(),
                     SourceIn(PictureBinding::Share(info[0]), takes_surfaces_),
                     info[2].ToBoolean());
  }
  return info.Env().Undefined();
}

// reconfigure(rates, keyframeInterval)
Napi::Value SessionBinding::Reconfigure(const Napi::CallbackInfo &info) {
  if (session_) {
    session_->Reconfigure(ReadRates(info[0].As<Napi::Object>()),
                          info[1].As<Napi::Number>().Int32Value());
  }
  return info.Env().Undefined();
}

// mark(token): a "passed" event when everything before it has been answered.
Napi::Value SessionBinding::Mark(const Napi::CallbackInfo &info) {
  if (session_) session_->Mark(info[0].As<Napi::Number>().Uint32Value());
  return info.Env().Undefined();
}

// flush(): frames that wait are answered without being encoded.
Napi::Value SessionBinding::Flush(const Napi::CallbackInfo &info) {
  if (session_) session_->CancelFrames();
  return info.Env().Undefined();
}

// close(): a "closed" event follows as the last one.
Napi::Value SessionBinding::Close(const Napi::CallbackInfo &info) {
  if (session_) session_->Close();
  return info.Env().Undefined();
}

// join(): Promise<void>. Once only, after the "closed" event.
Napi::Value SessionBinding::Join(const Napi::CallbackInfo &) {
  auto *worker = new JoinWorker(*this);
  const Napi::Promise promise = worker->Promise();
  worker->Queue();  // it deletes itself
  return promise;
}

}  // namespace vsockenc
