// Registers tests and violations, and compares.
#pragma once

#include <functional>
#include <string>

namespace self_test {

struct Registration {
  Registration(const char *name, std::function<void()> body);
  // A violation: `body` runs in a process of its own, which must abort with `message` on stderr.
  Registration(const char *name, std::function<void()> body, const char *message);
};

[[noreturn]] void Fail(const char *file, int line, const std::string &what);

// Calls `body` until it is true, at most 10 s; whether it became true.
bool Eventually(const std::function<bool()> &body);

void SleepMs(int milliseconds);

}  // namespace self_test

#define TEST(name)                                                       \
  static void name();                                                    \
  static const self_test::Registration name##_registration(#name, name); \
  static void name()

#define VIOLATION(name, message)                                                  \
  static void name();                                                             \
  static const self_test::Registration name##_registration(#name, name, message); \
  static void name()

#define EXPECT(condition) ((condition) ? void() : self_test::Fail(__FILE__, __LINE__, #condition))
#define EXPECT_EQ(left, right)                                                       \
  do {                                                                               \
    const long long expect_left = static_cast<long long>(left);                      \
    const long long expect_right = static_cast<long long>(right);                    \
    if (expect_left != expect_right) {                                               \
      self_test::Fail(__FILE__, __LINE__,                                            \
                      #left " is " + std::to_string(expect_left) + ", " #right " " + \
                          std::to_string(expect_right));                             \
    }                                                                                \
  } while (false)
