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

// The objects of SessionEvent in host/encoders/native-session.ts. Those of EncoderEvent in
// host/encoders/encoder.ts reach the stream or head that encodes as they are.
class EventObject {
 public:
  explicit EventObject(Napi::Env env) : env_(env), object_(Napi::Object::New(env)) {}

  void operator()(const event::Opened &) { Kind("opened"); }
  void operator()(const event::OpenFailed &event) { Message("open-failed", event.message); }
  void operator()(const event::Read &event) { Frame("read", event.frame); }
  void operator()(const event::Packet &event) {
    Frame("packet", event.frame);
    object_.Set("key", event.unit.key);
    // The only copy of an access unit. An external buffer would avoid it, but needs a finalizer and
    // memory that the garbage collector does not see.
    object_.Set("data", Napi::Buffer<uint8_t>::Copy(env_, event.unit.bytes.data(),
                                                    event.unit.bytes.size()));
    object_.Set("queueUs", event.times.queue_us);
    object_.Set("convertUs", event.times.convert_us);
    object_.Set("encodeUs", event.times.encode_us);
  }
  void operator()(const event::Dropped &event) {
    Frame("dropped", event.frame);
    object_.Set("reason", event.reason == event::DropReason::kFlushed ? "flushed" : "encoder");
  }
  void operator()(const event::FrameFailed &event) {
    Frame("frame-failed", event.frame);
    object_.Set("message", event.message);
  }
  void operator()(const event::Note &event) { Message("note", event.message); }
  void operator()(const event::Failed &event) { Message("failed", event.message); }
  void operator()(const event::Passed &event) {
    Kind("passed");
    object_.Set("token", event.token);
  }
  void operator()(const event::Closed &) { Kind("closed"); }
  void operator()(const event::Attention &) {}  // the session keeps these

  Napi::Object object() const { return object_; }

 private:
  void Kind(const char *kind) { object_.Set("kind", kind); }
  void Frame(const char *kind, uint32_t frame) {
    Kind(kind);
    object_.Set("frame", frame);
  }
  void Message(const char *kind, const std::string &message) {
    Kind(kind);
    object_.Set("message", message);
  }

  Napi::Env env_;
  Napi::Object object_;
};

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
  EventObject object(env);
  std::visit(object, *event);
  listener.Call({object.object()});
}

using Listener = Napi::TypedThreadSafeFunction<NoContext, SessionEvent, Deliver>;

}  // namespace

// Passes the events of a session, which may come on two threads, to the JavaScript thread, in order
// and without waiting. The queue between them is bounded by the frames in flight, three events for
// each, and a note for each attempt to recover an encoder.
class SessionBinding::EventPoster : public EventSink {
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
  }

 private:
  Listener listener_;
  std::mutex mutex_;
  bool reachable_ = true;  // guarded by mutex_
};

// Joins the session's thread on a thread of libuv's pool. Queued after the Closed event, so the
// thread is about to end.
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
    poster_->Release();
    throw Napi::Error::New(info.Env(),
                           std::string("cannot start the session's thread: ") + error.what());
  }
  Ref();
}

// The session exists only if the environment ends first: otherwise join() has ended it.
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

// flush(): queued frames are answered without being encoded.
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
