#include "script.h"

#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <mutex>
#include <sstream>

#include "violation.h"
#include "vt_shim.h"

namespace vt_shim {
namespace {

struct Rule {
  std::string verb;
  std::vector<std::string> arguments;
  Pattern pattern;
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
  if (text == "*") {
    return pattern;
  }
  if (text.starts_with("%")) {
    pattern.every = static_cast<uint64_t>(ToNumber(text.substr(1), rule));
    if (pattern.every == 0) {
      Violation("script: %0 in \"" + rule + "\"");
    }
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

// Verbs with the number of their arguments; those whose first argument is a pattern are numbered.
struct Verb {
  const char *name;
  size_t least;
  size_t most;
  bool numbered;
};
constexpr Verb kVerbs[] = {
    {"fail", 2, 3, true},        {"late", 2, 2, true},         {"null", 1, 1, true},
    {"drop", 1, 1, true},        {"early", 1, 1, true},        {"block", 2, 2, true},
    {"silent", 1, 1, true},      {"delay", 2, 2, true},        {"refuse", 2, 2, true},
    {"transfer", 2, 2, true},    {"lookup-null", 1, 1, true},  {"pool", 2, 2, true},
    {"no-llrc", 0, 1, false},    {"no-hardware", 0, 0, false}, {"macos", 1, 1, false},
    {"max-size", 1, 1, false},   {"unsupported", 2, 2, false}, {"unset", 1, 1, false},
    {"invalidate", 1, 1, false}, {"pending", 1, 1, false},     {"split", 1, 1, false},
    {"nal-length", 1, 1, false}, {"extra-sets", 1, 1, false},  {"notsync", 1, 1, false},
    {"dts", 1, 1, false},        {"patience", 1, 1, false},    {"unchecked", 0, 0, false},
    {"malformed", 1, 1, true},
};

Rule ToRule(const std::string &text) {
  Rule rule;
  rule.arguments = Split(text, ':');
  rule.verb = rule.arguments.front();
  rule.arguments.erase(rule.arguments.begin());
  for (const Verb &verb : kVerbs) {
    if (rule.verb != verb.name) {
      continue;
    }
    if (rule.arguments.size() < verb.least || rule.arguments.size() > verb.most) {
      Violation("script: wrong number of arguments in \"" + text + "\"");
    }
    if (verb.numbered) {
      rule.pattern = ToPattern(rule.arguments.front(), text);
    }
    return rule;
  }
  Violation("script: no rule is called \"" + rule.verb + "\"");
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
      if (!rule.empty()) {
        rules_.push_back(ToRule(rule));
      }
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
    if (const char *text = getenv("VT_SHIM_SCRIPT"); text != nullptr) {
      Set(text);
    }
    if (const char *file = getenv("VT_SHIM_SCRIPT_FILE"); file != nullptr) {
      file_ = file;
    }
  }

  std::vector<Rule> rules_;
  std::string file_;
  timespec changed_ = {};
};

int Argument(const Rule &rule, size_t index) {
  return static_cast<int>(ToNumber(rule.arguments[index], rule.verb));
}

void Apply(const Rule &rule, FramePlan *plan) {
  if (rule.verb == "fail") {
    plan->outcome = FramePlan::Outcome::kFail;
    plan->status = Argument(rule, 1);
    if (rule.arguments.size() == 3 && rule.arguments[2] == "sync") {
      plan->return_status = plan->status;
      plan->callback = false;
    }
  } else if (rule.verb == "late") {
    plan->outcome = FramePlan::Outcome::kFail;
    plan->status = plan->return_status = Argument(rule, 1);
    plan->delay_ms = 50;
  } else if (rule.verb == "null") {
    plan->outcome = FramePlan::Outcome::kNullSample;
  } else if (rule.verb == "drop") {
    plan->outcome = FramePlan::Outcome::kDropped;
  } else if (rule.verb == "early") {
    plan->early = true;
  } else if (rule.verb == "silent") {
    plan->silent = true;
  } else if (rule.verb == "malformed") {
    plan->malformed = true;
  } else if (rule.verb == "block") {
    plan->block_ms = Argument(rule, 1);
  } else if (rule.verb == "delay") {
    plan->delay_ms = Argument(rule, 1);
  }
}

void Apply(const Rule &rule, SessionPlan *plan) {
  if (rule.verb == "no-llrc") {
    plan->no_llrc = rule.arguments.empty() ? -12908 : Argument(rule, 0);
  } else if (rule.verb == "no-hardware") {
    plan->no_hardware = true;
  } else if (rule.verb == "macos") {
    plan->macos = Argument(rule, 0);
  } else if (rule.verb == "max-size") {
    const auto size = Split(rule.arguments[0], 'x');
    plan->max_width = static_cast<int>(ToNumber(size.front(), rule.verb));
    plan->max_height = static_cast<int>(ToNumber(size.back(), rule.verb));
  } else if (rule.verb == "unsupported") {
    plan->unsupported.emplace_back(rule.arguments[0], rule.arguments[1]);
  } else if (rule.verb == "unset") {
    plan->unset_keys.push_back(rule.arguments[0]);
  } else if (rule.verb == "invalidate") {
    plan->invalidate_flushes = rule.arguments[0] == "flush";
  } else if (rule.verb == "pending") {
    plan->pending_limit = static_cast<unsigned>(Argument(rule, 0));
  } else if (rule.verb == "patience") {
    plan->patience_ms = Argument(rule, 0);
  } else if (rule.verb == "unchecked") {
    plan->reads_input = false;
  }
}

void Apply(const Rule &rule, SamplePlan *plan) {
  if (rule.verb == "split") {
    plan->piece_size = static_cast<size_t>(Argument(rule, 0));
  } else if (rule.verb == "nal-length") {
    plan->nal_length_size = Argument(rule, 0);
  } else if (rule.verb == "extra-sets") {
    plan->extra_sets = static_cast<size_t>(Argument(rule, 0));
  } else if (rule.verb == "notsync") {
    plan->not_sync = rule.arguments[0] == "false"      ? SamplePlan::NotSync::kFalse
                     : rule.arguments[0] == "no-array" ? SamplePlan::NotSync::kNoArray
                                                       : SamplePlan::NotSync::kAbsent;
  } else if (rule.verb == "dts") {
    plan->valid_dts = rule.arguments[0] == "valid";
  }
}

// The status of the first rule `verb` that matches; `counter` counts the event.
OSStatus NextStatus(const char *verb, uint64_t Script::*counter, OSStatus without_argument) {
  Script &script = Script::Instance();
  std::lock_guard lock(script.mutex);
  const auto &rules = script.Rules();
  const uint64_t number = ++(script.*counter);
  for (const Rule &rule : rules) {
    if (rule.verb == verb && rule.pattern.Matches(number)) {
      return rule.arguments.size() > 1 ? Argument(rule, 1) : without_argument;
    }
  }
  return noErr;
}

template <typename Plan>
Plan Current() {
  Script &script = Script::Instance();
  std::lock_guard lock(script.mutex);
  Plan plan;
  for (const Rule &rule : script.Rules()) {
    Apply(rule, &plan);
  }
  return plan;
}

}  // namespace

FramePlan NextFramePlan(uint64_t *number) {
  Script &script = Script::Instance();
  std::lock_guard lock(script.mutex);
  const auto &rules = script.Rules();
  *number = ++script.frames;
  FramePlan plan;
  for (const Rule &rule : rules) {
    if (rule.pattern.Matches(*number)) {
      Apply(rule, &plan);
    }
  }
  return plan;
}

SessionPlan CurrentSessionPlan() {
  return Current<SessionPlan>();
}
SamplePlan CurrentSamplePlan() {
  return Current<SamplePlan>();
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
}
