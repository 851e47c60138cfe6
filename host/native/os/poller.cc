// A thread that waits in poll(2) for every watched descriptor, and one ThreadSafeFunction that
// notifies JavaScript.
//
// A watch is armed for one event: when its descriptor is ready, the watch is disarmed and reported,
// and JavaScript arms it again after handling the event. So the queue of reports is bounded by the
// number of watches, however slow JavaScript is. The ids of watches are never reused, so a
// descriptor's number may be reused while an old report is on its way.
#include <poll.h>

#include <array>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "addon.h"

namespace vsockenc {

namespace {

// The ids of ready watches and their events.
struct Report {
  uint32_t id;
  short events;
};

class Poller {
 public:
  // `dispatch` is called as dispatch([id, events, id, events, …]).
  Poller(Napi::Env env, Napi::Function dispatch) {
    std::array<int, 2> ends{};
    Check(platform::OpenPipe(&ends), "pipe");
    wake_read_ = Descriptor(ends[0]);
    wake_write_ = Descriptor(ends[1]);
    function_ = Napi::ThreadSafeFunction::New(env, dispatch, "vsockenc poller", 0, 1);
    // Only watches keep the process alive.
    function_.Unref(env);
    thread_ = std::thread([this] { Run(); });
  }

  ~Poller() { Stop(); }

  // Joins the thread. Nothing is reported afterwards.
  void Stop() {
    if (!thread_.joinable()) return;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    Wake();
    thread_.join();
    function_.Abort();
  }

  // Arms or changes the watch; events of 0 disarms it.
  void Arm(Napi::Env env, uint32_t id, int fd, short events) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (stopping_) return;
      if (watches_.empty()) function_.Ref(env);
      watches_[id] = {fd, events};
    }
    Wake();
  }

  void Remove(Napi::Env env, uint32_t id) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (watches_.erase(id) == 0 || stopping_) return;
      if (watches_.empty()) function_.Unref(env);
    }
    Wake();
  }

 private:
  struct Watch {
    int fd;
    short events;
  };

  void Wake() const {
    const char byte = 0;
    // A full pipe wakes the thread as well.
    [[maybe_unused]] const ssize_t written = write(wake_write_.get(), &byte, 1);
  }

  void Run();
  // Collects the ready descriptors; true if JavaScript must be called.
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

void Poller::Run() {
  std::vector<uint32_t> ids;
  std::vector<pollfd> polled;
  while (true) {
    ids.clear();
    polled.assign(1, {wake_read_.get(), POLLIN, 0});
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (stopping_) return;
      for (const auto &[id, watch] : watches_) {
        if (watch.events == 0) continue;
        ids.push_back(id);
        polled.push_back({watch.fd, watch.events, 0});
      }
    }
    // EINTR or ENOMEM: try again.
    if (poll(polled.data(), static_cast<nfds_t>(polled.size()), -1) < 0) continue;
    if (polled[0].revents != 0) {
      std::array<char, 64> bytes{};
      [[maybe_unused]] const ssize_t count = read(wake_read_.get(), bytes.data(), bytes.size());
    }
    if (!Collect(ids, polled)) continue;
    const auto deliver = [this](Napi::Env env, Napi::Function dispatch) { Deliver(env, dispatch); };
    if (function_.NonBlockingCall(deliver) != napi_ok) return;
  }
}

bool Poller::Collect(const std::vector<uint32_t> &ids, const std::vector<pollfd> &polled) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (size_t i = 0; i < ids.size(); i++) {
    const pollfd &entry = polled[i + 1];
    if (entry.revents == 0) continue;
    const auto found = watches_.find(ids[i]);
    // Removed or changed while poll was waiting: the result is of an earlier watch.
    if (found == watches_.end() || found->second.fd != entry.fd || found->second.events == 0) {
      continue;
    }
    found->second.events = 0;
    reports_.push_back({ids[i], entry.revents});
  }
  if (reports_.empty() || stopping_) return false;
  return !std::exchange(call_pending_, true);
}

void Poller::Deliver(Napi::Env env, Napi::Function dispatch) {
  std::vector<Report> reports;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    reports.swap(reports_);
    call_pending_ = false;
  }
  Napi::Array list = Napi::Array::New(env, reports.size() * 2);
  for (uint32_t i = 0; i < reports.size(); i++) {
    list.Set(i * 2, static_cast<double>(reports[i].id));
    list.Set(i * 2 + 1, static_cast<double>(reports[i].events));
  }
  dispatch.Call({list});
}

// One poller for each environment (a worker thread has its own), made by startPoller.
using State = std::unique_ptr<Poller>;

Poller &Current(Napi::Env env) {
  State &poller = *env.GetInstanceData<State>();
  if (!poller) throw std::runtime_error("startPoller was not called");
  return *poller;
}

// startPoller(dispatch)
void Start(Napi::Env env, Napi::Function dispatch) {
  State &poller = *env.GetInstanceData<State>();
  if (poller) throw std::runtime_error("startPoller was called before");
  poller = std::make_unique<Poller>(env, dispatch);
  // Runs before the function's own clean-up, which was registered earlier.
  env.AddCleanupHook([](Poller *stopped) { stopped->Stop(); }, poller.get());
}

// armWatch(id, fd, events)
void Arm(Napi::Env env, uint32_t id, int fd, short events) {
  Current(env).Arm(env, id, fd, events);
}

// removeWatch(id)
void Remove(Napi::Env env, uint32_t id) {
  Current(env).Remove(env, id);
}

}  // namespace

void RegisterPoller(Napi::Object exports) {
  exports.Env().SetInstanceData(new State);
  exports.Set("pollRead", double{POLLIN});
  exports.Set("pollWrite", double{POLLOUT});
  exports.Set("pollHangup", double{POLLHUP});
  Export(exports, "startPoller", Start);
  Export(exports, "armWatch", Arm);
  Export(exports, "removeWatch", Remove);
}

}  // namespace vsockenc
