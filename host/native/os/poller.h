// A thread that waits in poll(2) for every watched descriptor, and one ThreadSafeFunction that
// tells JavaScript.
//
// A watch is armed for one event: when its descriptor is ready it is disarmed and reported, and
// JavaScript arms it anew when it has dealt with it. So JavaScript is never flooded, however slow
// it is: what waits is bounded by the number of watches. Watches have ids, never used twice, so
// that a descriptor's number may be used again while an old report is on its way.
#ifndef VSOCKENC_HOST_NATIVE_OS_POLLER_H_
#define VSOCKENC_HOST_NATIVE_OS_POLLER_H_

#include <napi.h>
#include <poll.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "guest_memory.h"

namespace vsockenc {

class Poller {
 public:
  // `dispatch` is called as dispatch([id, events, id, events, …]).
  Poller(Napi::Env env, Napi::Function dispatch);
  ~Poller();
  Poller(const Poller &) = delete;
  Poller &operator=(const Poller &) = delete;

  // Arms or changes the watch; events of 0 disarms it.
  void Arm(Napi::Env env, uint32_t id, int fd, short events);
  void Remove(Napi::Env env, uint32_t id);
  // Joins the thread. Nothing is reported afterwards.
  void Stop();

 private:
  struct Watch {
    int fd;
    short events;
  };
  struct Report {
    uint32_t id;
    short events;
  };

  void Run();
  void Wake() const;
  // Collects what is ready; true if JavaScript must be called.
  bool Collect(const std::vector<uint32_t> &ids, const std::vector<pollfd> &polled);
  void Deliver(Napi::Env env, Napi::Function dispatch);

  std::mutex mutex_;
  std::map<uint32_t, Watch> watches_;
  std::vector<Report> reports_;
  bool call_pending_ = false;
  bool stopping_ = false;
  Descriptor wake_read_;
  Descriptor wake_write_;
  Napi::ThreadSafeFunction function_;
  std::thread thread_;
};

void RegisterPoller(Napi::Env env, Napi::Object exports);

}  // namespace vsockenc

#endif  // VSOCKENC_HOST_NATIVE_OS_POLLER_H_
