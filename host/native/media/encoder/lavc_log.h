#pragma once

#include <string>

namespace vsockenc {

// While one exists, what libav logs on this thread as an error is collected instead of lost: return
// codes alone rarely tell what is wrong. Nothing is ever written to standard error, which belongs
// to the program.
class LavcLog {
 public:
  LavcLog();
  ~LavcLog();
  LavcLog(const LavcLog &) = delete;
  LavcLog &operator=(const LavcLog &) = delete;

  // " (…)" with the messages so far, or nothing.
  std::string Words() const;

 private:
  std::string *outer_;
  std::string words_;
};

}  // namespace vsockenc
