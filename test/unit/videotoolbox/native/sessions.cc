// The encoder in a session: its thread, its queue and its end.
#include "encoder/session.h"

#include <atomic>

#include "harness.h"

namespace harness {
namespace {

// Counts a session's events; a caller can wait for a mark.
class Counter : public EventSink {
 public:
  void On(SessionEvent event) override {
    std::visit(Match{[this](event::Opened &) { ++opened; },
                     [this](event::OpenFailed &event) { failure = event.message; },
                     [this](event::Read &) { ++read; }, [this](event::Packet &) { ++packets; },
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
  void WaitForMark(int number) {
    for (int now = marks; now < number; now = marks) marks.wait(now);
  }

  std::atomic<int> opened{0}, read{0}, packets{0}, flushed{0}, dropped{0}, failed{0}, notes{0};
  std::atomic<int> marks{0}, closed{0}, at_mark{0};
  std::string failure;  // of the session's thread; read when that has ended
};

void Encode(Session &session, uint32_t number, bool key = false) {
  session.Encode(number, Draw(FormatNamed("BGRx"), 160, 120, static_cast<int>(number)), key);
}

// A mark passes after every earlier answer, also with an encoder that answers late.
void Marks() {
  vt_shim_set_script("delay:2+:20");
  Counter counter;
  {
    Session session(OpenVideoToolbox(Small(), Hasty()), counter);
    for (uint32_t i = 0; i < 5; ++i) Encode(session, i);
    session.Mark(1);
    counter.WaitForMark(1);
    Expect(counter.at_mark == 5, "a mark passes ahead of an answer");
  }
  Expect(counter.packets == 5 && counter.read == 5 && counter.opened == 1 && counter.closed == 1,
         "not every frame is answered");
  Expect(counter.notes > 0, "the encoder is not reported");
}

// Closing a session answers its pending frames first.
void ClosedAtAnyMoment() {
  for (const char *script : {"", "delay:2+:20", "early:*", "fail:3:-12903", "silent:3"}) {
    for (uint32_t frames = 0; frames < 6; ++frames) {
      vt_shim_set_script(script);
      Counter counter;
      {
        Session session(OpenVideoToolbox(Small(), Hasty(kSoon)), counter);
        for (uint32_t i = 0; i < frames; ++i) Encode(session, i);
        if (frames % 2 == 0) session.Close();
      }
      Expect(counter.answers() == static_cast<int>(frames) && counter.closed == 1,
             "a frame has no answer");
    }
  }
}

// Only the encoder's own request wakes the session's thread.
void TendsWithoutJobs() {
  for (const char *script : {"silent:4", "fail:4:-12912"}) {
    vt_shim_set_script(script);
    Counter counter;
    Session session(OpenVideoToolbox(Small(), Hasty(kSoon)), counter);
    for (uint32_t i = 0; i < 3; ++i) Encode(session, i);
    while (counter.packets < 3) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

void FailsForGood() {
  vt_shim_set_script("fail:3+:-12912");
  Counter counter;
  {
    Session session(OpenVideoToolbox(Small(), Hasty()), counter);
    for (uint32_t i = 0; i < 6; ++i) Encode(session, i);
    session.Mark(1);
    counter.WaitForMark(1);
  }
  Expect(counter.packets == 1 && counter.failed >= 1 && counter.answers() == 6,
         "a frame has no answer, or the wrong one");
  Expect(counter.failure.find("-12912") != std::string::npos, "the session does not say why");
}

void DoesNotOpen() {
  vt_shim_set_script("no-hardware");
  Counter counter;
  {
    Session session(OpenVideoToolbox(Small(), Hasty()), counter);
    Encode(session, 0);
    session.Mark(1);
    counter.WaitForMark(1);
  }
  Expect(counter.opened == 0 && counter.dropped == 1 && counter.closed == 1, "it is still open");
  Expect(counter.failure.find("no hardware encoder") != std::string::npos, "no reason is reported");
}

}  // namespace

void AddSessions(std::vector<Case> &cases) {
  cases.push_back({"marks", Marks});
  cases.push_back({"closed at any moment", ClosedAtAnyMoment});
  cases.push_back({"tends without jobs", TendsWithoutJobs});
  cases.push_back({"fails for good", FailsForGood});
  cases.push_back({"does not open", DoesNotOpen});
}

}  // namespace harness
