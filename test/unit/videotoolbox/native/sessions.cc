// The encoder in a session: its thread, its queue and its end.
#include "encoder/session.h"

#include <atomic>

#include "harness.h"

namespace harness {
namespace {

constexpr char kSet[] = "sessions";

// Counts a session's events; a caller can wait for packets and marks.
class Counter : public EventSink {
 public:
  void On(SessionEvent event) override {
    std::visit(Match{[this](event::Opened &) { ++opened; },
                     [this](event::OpenFailed &event) { failure = event.message; },
                     [this](event::Read &) { ++read; },
                     [this](event::Packet &) {
                       ++packets;
                       packets.notify_all();
                     },
                     [this](event::Dropped &event) {
                       ++(event.reason == event::DropReason::kFlushed ? flushed : dropped);
                     },
                     [this](event::FrameFailed &) { ++failed; }, [this](event::Note &) { ++notes; },
                     [this](event::Failed &event) { failure = event.message; },
                     [this](event::Passed &) {
                       at_mark = answers();
                       ++marks;
                       marks.notify_all();
                     },
                     [this](event::Closed &) { ++closed; }, [](event::Attention &) {}},
               event);
  }

  int answers() const { return packets + flushed + dropped + failed; }
  static void WaitFor(std::atomic<int> &count, int number) {
    for (int now = count; now < number; now = count) count.wait(now);
  }

  std::atomic<int> opened{0}, read{0}, packets{0}, flushed{0}, dropped{0}, failed{0}, notes{0};
  std::atomic<int> marks{0}, closed{0}, at_mark{0};
  std::string failure;  // of the session's thread; read when that has ended
};

void Encode(Session &session, int frames) {
  for (int i = 0; i < frames; ++i) {
    session.Encode(static_cast<uint32_t>(i), Draw(FormatNamed("BGRx"), 160, 120, i), false);
  }
}

// The events of a session up to its end, with a mark behind its frames.
void Run(const std::string &script, int frames, Counter &counter) {
  vt_shim_set_script(script.c_str());
  Session session(OpenVideoToolbox(Small(), Hasty()), counter);
  Encode(session, frames);
  session.Mark(1);
  Counter::WaitFor(counter.marks, 1);
  Expect(counter.at_mark == frames, "a mark passes ahead of an answer");
}

// A mark passes after every earlier answer, also with an encoder that answers late.
TEST(marks) {
  Counter counter;
  Run("delay:2+:20", 5, counter);
  Expect(counter.packets == 5 && counter.read == 5 && counter.opened == 1 && counter.closed == 1,
         "not every frame is answered");
  Expect(counter.notes > 0, "the encoder is not reported");
}

// Closing a session answers its pending frames first.
TEST(closed_at_any_moment) {
  for (const char *script : {"", "delay:2+:20", "early:*", "fail:3:-12903", "silent:3"}) {
    for (int frames = 0; frames < 6; ++frames) {
      vt_shim_set_script(script);
      Counter counter;
      {
        Session session(OpenVideoToolbox(Small(), Hasty(kSoon)), counter);
        Encode(session, frames);
        if (frames % 2 == 0) session.Close();
      }
      Expect(counter.answers() == frames && counter.closed == 1, "a frame has no answer");
    }
  }
}

// Only the encoder's own request wakes the session's thread.
TEST(tends_without_jobs) {
  for (const char *script : {"silent:4", "fail:4:-12912"}) {
    vt_shim_set_script(script);
    Counter counter;
    Session session(OpenVideoToolbox(Small(), Hasty(kSoon)), counter);
    Encode(session, 3);
    Counter::WaitFor(counter.packets, 3);
  }
}

TEST(fails_for_good) {
  Counter counter;
  Run("fail:3+:-12912", 6, counter);
  Expect(counter.packets == 1 && counter.failed >= 1 && counter.answers() == 6,
         "a frame has no answer, or the wrong one");
  ExpectHas(counter.failure, "-12912");
}

TEST(does_not_open) {
  Counter counter;
  Run("no-hardware", 1, counter);
  Expect(counter.opened == 0 && counter.dropped == 1 && counter.closed == 1, "it is still open");
  ExpectHas(counter.failure, "no hardware encoder");
}

}  // namespace
}  // namespace harness
