// Pipeline as a JavaScript class, NativePipeline; guest/bridge/gst.ts has its types.
#ifndef VSOCKENC_GUEST_BRIDGE_NATIVE_PIPELINE_BINDING_H_
#define VSOCKENC_GUEST_BRIDGE_NATIVE_PIPELINE_BINDING_H_

#include <napi.h>

#include <memory>

#include "pipeline.h"

namespace vsockenc {

class PipelineBinding : public Napi::ObjectWrap<PipelineBinding> {
 public:
  static void Register(Napi::Env env, Napi::Object exports);

  // new NativePipeline(description, sink, listener); throws an Error with `kind`.
  explicit PipelineBinding(const Napi::CallbackInfo &info);
  ~PipelineBinding() override;

 private:
  class Waker;

  Napi::Value SetState(const Napi::CallbackInfo &info);
  Napi::Value QueryLatency(const Napi::CallbackInfo &info);
  Napi::Value ForceKeyUnit(const Napi::CallbackInfo &info);
  Napi::Value Close(const Napi::CallbackInfo &info);
  Napi::Value Dispose(const Napi::CallbackInfo &info);
  Napi::Value Elements(const Napi::CallbackInfo &info);
  Napi::Value GetProperty(const Napi::CallbackInfo &info);
  Napi::Value SetProperty(const Napi::CallbackInfo &info);

  // Throws a JavaScript error after dispose().
  Pipeline &Open(const Napi::CallbackInfo &info) const;
  // Hands everything that waits to the listener.
  void Deliver(Napi::Env env, Napi::Function listener);
  bool DeliverSample(Napi::Env env, Napi::Function listener);
  static void OnEnvironmentEnd(void *self);
  // Nothing is delivered afterwards; the pipeline is gone.
  void End();

  std::unique_ptr<Waker> waker_;
  std::unique_ptr<Pipeline> pipeline_;
};

}  // namespace vsockenc

#endif  // VSOCKENC_GUEST_BRIDGE_NATIVE_PIPELINE_BINDING_H_
