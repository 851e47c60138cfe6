#include "lavc_log.h"

#include <cstdarg>
#include <cstdio>
#include <mutex>

extern "C" {
#include <libavutil/log.h>
}

namespace vsockenc {
namespace {

constexpr size_t kMostWords = 1024;

thread_local std::string *collector = nullptr;

void Collect(void *, int level, const char *format, va_list arguments) {
  if (level > AV_LOG_ERROR || collector == nullptr || collector->size() >= kMostWords) return;
  char line[256];
  const int length = vsnprintf(line, sizeof line, format, arguments);
  if (length <= 0) return;
  std::string text(line);
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  if (text.empty()) return;
  if (!collector->empty()) *collector += "; ";
  *collector += text;
}

}  // namespace

LavcLog::LavcLog() : outer_(collector) {
  static std::once_flag once;
  std::call_once(once, [] { av_log_set_callback(Collect); });
  collector = &words_;
}

LavcLog::~LavcLog() {
  collector = outer_;
}

std::string LavcLog::Words() const {
  return words_.empty() ? "" : " (" + words_ + ")";
}

}  // namespace vsockenc
