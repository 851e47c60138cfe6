#include "script.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <sstream>

#include "object.h"
#include "vt_shim.h"

namespace vt_shim {
namespace {

struct Plans;

struct Rule {
  std::string verb;
  std::vector<std::string> arguments;
  Pattern pattern;  // of the frames, or other events, that it applies to; all if it has no number
  void (*apply)(const Rule &, Plans &);
};

std::vector<std::string> Split(const std::string &text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) {
    const auto first = part.find_first_not_of(" \t\r\n");
    const auto last = part.find_last_not_of(" \t\r\n");
    parts.push_back(first == std::string::npos ? "" : part.substr(first, last - first + 1));
  }
  return parts;
}

long ToNumber(const std::string &text, const std::string &rule) {
  char *end = nullptr;
  const long value = strtol(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0') {
    Violation("script: \"" + text + "\" in \"" + rule + "\" is not a number");
  }
  return value;
}

Pattern ToPattern(const std::string &text, const std::string &rule) {
  Pattern pattern;
  const auto dash = text.find('-');
  if (text == "*") return pattern;
  if (text.starts_with("%")) {
    pattern.every = static_cast<uint64_t>(ToNumber(text.substr(1), rule));
    if (pattern.every == 0) Violation("script: %0 in \"" + rule + "\"");
  } else if (text.ends_with("+")) {
    pattern.first = static_cast<uint64_t>(ToNumber(text.substr(0, text.size() - 1), rule));
  } else if (dash != std::string::npos) {
    pattern.first = static_cast<uint64_t>(ToNumber(text.substr(0, dash), rule));
    pattern.last = static_cast<uint64_t>(ToNumber(text.substr(dash + 1), rule));
  } else {
    pattern.first = pattern.last = static_cast<uint64_t>(ToNumber(text, rule));
  }
  return pattern;
}

struct Plans {
  FramePlan frame;
  SessionPlan session;
  SamplePlan sample;
};

int Number(const Rule &rule, size_t index) {
  return static_cast<int>(ToNumber(rule.arguments[index], rule.verb));
}

// A rule's name, the number of its arguments, and its effect. The first argument of those that are
// numbered is a pattern.
struct Verb {
  const char *name;
  size_t least;
  size_t most;
  bool numbered;
  void (*apply)(const Rule &, Plans &);
};
using Outcome = FramePlan::Outcome;
using NotSync = SamplePlan::NotSync;
constexpr Verb kVerbs[] = {
    {"fail", 2, 3, true,
     [](const Rule &rule, Plans &to) {
       to.frame.outcome = Outcome::kFail;
       to.frame.status = Number(rule, 1);
       if (rule.arguments.size() == 3 && rule.arguments[2] == "sync") {
         to.frame.return_status = to.frame.status;
         to.frame.callback = false;
       }
     }},
    {"late", 2, 2, true,
     [](const Rule &rule, Plans &to) {
       to.frame.outcome = Outcome::kFail;
       to.frame.status = to.frame.return_status = Number(rule, 1);
       to.frame.delay_ms = 50;
     }},
    {"null", 1, 1, true, [](const Rule &, Plans &to) { to.frame.outcome = Outcome::kNullSample; }},
    {"drop", 1, 1, true, [](const Rule &, Plans &to) { to.frame.outcome = Outcome::kDropped; }},
    {"early", 1, 1, true, [](const Rule &, Plans &to) { to.frame.early = true; }},
    {"silent", 1, 1, true, [](const Rule &, Plans &to) { to.frame.silent = true; }},
    {"malformed", 1, 1, true, [](const Rule &, Plans &to) { to.frame.malformed = true; }},
    {"block", 2, 2, true, [](const Rule &rule, Plans &to) { to.frame.block_ms = Number(rule, 1); }},
    {"delay", 2, 2, true, [](const Rule &rule, Plans &to) { to.frame.delay_ms = Number(rule, 1); }},
    // Of events that are not frames: see NextStatus.
    {"refuse", 2, 2, true, nullptr},
    {"transfer", 2, 2, true, nullptr},
    {"lookup-null", 1, 1, true, nullptr},
    {"pool", 2, 2, true, nullptr},
    {"no-llrc", 0, 1, false,
     [](const Rule &rule, Plans &to) {
       to.session.no_llrc = rule.arguments.empty() ? -12908 : Number(rule, 0);
     }},
    {"no-hardware", 0, 0, false, [](const Rule &, Plans &to) { to.session.no_hardware = true; }},
    {"macos", 1, 1, false, [](const Rule &rule, Plans &to) { to.session.macos = Number(rule, 0); }},
    {"max-size", 1, 1, false,
     [](const Rule &rule, Plans &to) {
       const auto size = Split(rule.arguments[0], 'x');
       to.session.max_width = static_cast<int>(ToNumber(size.front(), rule.verb));
       to.session.max_height = static_cast<int>(ToNumber(size.back(), rule.verb));
     }},
    {"unsupported", 2, 2, false,
     [](const Rule &rule, Plans &to) {
       to.session.unsupported.emplace_back(rule.arguments[0], rule.arguments[1]);
     }},
    {"unset", 1, 1, false,
     [](const Rule &rule, Plans &to) { to.session.unset_keys.push_back(rule.arguments[0]); }},
    {"invalidate", 1, 1, false,
     [](const Rule &rule, Plans &to) {
       to.session.invalidate_flushes = rule.arguments[0] == "flush";
     }},
    {"pending", 1, 1, false,
     [](const Rule &rule, Plans &to) {
       to.session.pending_limit = static_cast<unsigned>(Number(rule, 0));
     }},
    {"patience", 1, 1, false,
     [](const Rule &rule, Plans &to) { to.session.patience_ms = Number(rule, 0); }},
    {"unchecked", 0, 0, false, [](const Rule &, Plans &to) { to.session.reads_input = false; }},
    {"split", 1, 1, false,
     [](const Rule &rule, Plans &to) {
       to.sample.piece_size = static_cast<size_t>(Number(rule, 0));
     }},
    {"nal-length", 1, 1, false,
     [](const Rule &rule, Plans &to) { to.sample.nal_length_size = Number(rule, 0); }},
    {"extra-sets", 1, 1, false,
     [](const Rule &rule, Plans &to) {
       to.sample.extra_sets = static_cast<size_t>(Number(rule, 0));
     }},
    {"notsync", 1, 1, false,
     [](const Rule &rule, Plans &to) {
       to.sample.not_sync = rule.arguments[0] == "false"      ? NotSync::kFalse
                            : rule.arguments[0] == "no-array" ? NotSync::kNoArray
                                                              : NotSync::kAbsent;
     }},
    {"dts", 1, 1, false,
     [](const Rule &rule, Plans &to) { to.sample.valid_dts = rule.arguments[0] == "valid"; }},
};

Rule ToRule(const std::string &text) {
  Rule rule;
  rule.arguments = Split(text, ':');
  rule.verb = rule.arguments.front();
  rule.arguments.erase(rule.arguments.begin());
  const auto *verb = std::ranges::find(kVerbs, rule.verb, &Verb::name);
  if (verb == std::end(kVerbs)) Violation("script: no rule is called \"" + rule.verb + "\"");
  if (rule.arguments.size() < verb->least || rule.arguments.size() > verb->most) {
    Violation("script: wrong number of arguments in \"" + text + "\"");
  }
  if (verb->numbered) rule.pattern = ToPattern(rule.arguments.front(), text);
  rule.apply = verb->apply;
  return rule;
}

class Script {
 public:
  static Script &Instance() {
    static auto *script = new Script;
    return *script;
  }

  std::mutex mutex;
  uint64_t frames = 0;
  uint64_t sessions = 0;
  uint64_t transfers = 0;
  uint64_t lookups = 0;
  uint64_t pool_buffers = 0;

  void Set(const std::string &text) {
    rules_.clear();
    for (const std::string &rule : Split(text, ';')) {
      if (!rule.empty()) rules_.push_back(ToRule(rule));
    }
    frames = sessions = transfers = lookups = pool_buffers = 0;
  }

  // With the control file read again if it has changed. `mutex` is held.
  const std::vector<Rule> &Rules() {
    struct stat info;
    if (!file_.empty() && stat(file_.c_str(), &info) == 0 &&
        (info.st_mtim.tv_sec != changed_.tv_sec || info.st_mtim.tv_nsec != changed_.tv_nsec)) {
      changed_ = info.st_mtim;
      std::ifstream stream(file_);
      Set(std::string(std::istreambuf_iterator<char>(stream), {}));
    }
    return rules_;
  }

 private:
  Script() {
    if (const char *text = getenv("VT_SHIM_SCRIPT"); text != nullptr) Set(text);
    if (const char *file = getenv("VT_SHIM_SCRIPT_FILE"); file != nullptr) file_ = file;
  }

  std::vector<Rule> rules_;
  std::string file_;
  timespec changed_ = {};
};

// The status of the first rule `verb` that matches; `counter` counts the event.
OSStatus NextStatus(const char *verb, uint64_t Script::*counter, OSStatus without_argument) {
  Script &script = Script::Instance();
  std::lock_guard lock(script.mutex);
  const auto &rules = script.Rules();
  const uint64_t number = ++(script.*counter);
  for (const Rule &rule : rules) {
    if (rule.verb == verb && rule.pattern.Matches(number)) {
      return rule.arguments.size() > 1 ? Number(rule, 1) : without_argument;
    }
  }
  return noErr;
}

// The effect of all rules, for the frame of this number; of those without one for 0.
Plans Planned(const std::vector<Rule> &rules, uint64_t number) {
  Plans plans;
  for (const Rule &rule : rules) {
    if (rule.apply != nullptr && rule.pattern.Matches(number)) rule.apply(rule, plans);
  }
  return plans;
}

Plans Current() {
  Script &script = Script::Instance();
  std::lock_guard lock(script.mutex);
  return Planned(script.Rules(), 0);
}

}  // namespace

FramePlan NextFramePlan() {
  Script &script = Script::Instance();
  std::lock_guard lock(script.mutex);
  const auto &rules = script.Rules();
  return Planned(rules, ++script.frames).frame;
}

SessionPlan CurrentSessionPlan() {
  return Current().session;
}
SamplePlan CurrentSamplePlan() {
  return Current().sample;
}

SessionPlan NextSessionPlan() {
  const OSStatus refusal = NextStatus("refuse", &Script::sessions, noErr);
  SessionPlan plan = CurrentSessionPlan();
  plan.refusal = refusal;
  return plan;
}

OSStatus NextTransferStatus() {
  return NextStatus("transfer", &Script::transfers, noErr);
}
bool NextLookupFails() {
  return NextStatus("lookup-null", &Script::lookups, 1) != noErr;
}
int32_t NextPoolStatus() {
  return NextStatus("pool", &Script::pool_buffers, noErr);
}

}  // namespace vt_shim

void vt_shim_set_script(const char *script) {
  auto &instance = vt_shim::Script::Instance();
  std::lock_guard lock(instance.mutex);
  instance.Set(script == nullptr ? "" : script);
#define VT_SHIM_CLEAR(name) vt_shim::Count().name = 0;
  VT_SHIM_COUNTERS(VT_SHIM_CLEAR)
}
