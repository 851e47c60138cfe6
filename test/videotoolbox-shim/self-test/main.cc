// Runs every test, or those whose name contains the argument; "--violate NAME" runs one violation.
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "harness.h"
#include "vt_shim.h"

namespace self_test {
namespace {

struct Case {
  const char *name;
  std::function<void()> body;
  const char *message;  // of a violation
};

std::vector<Case> &Cases() {
  static auto *cases = new std::vector<Case>;
  return *cases;
}

// What the violation `name` prints on stderr in a process of its own, and how that ended.
std::string RunApart(const char *program, const char *name, int *status) {
  int pipes[2];
  EXPECT(pipe(pipes) == 0);
  const pid_t child = fork();
  EXPECT(child >= 0);
  if (child == 0) {
    dup2(pipes[1], STDERR_FILENO);
    close(pipes[0]);
    close(pipes[1]);
    execl(program, program, "--violate", name, nullptr);
    _exit(127);
  }
  close(pipes[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t count; (count = read(pipes[0], buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<size_t>(count));
  }
  close(pipes[0]);
  EXPECT(waitpid(child, status, 0) == child);
  return text;
}

void ExpectViolation(const char *program, const Case &test) {
  int status = 0;
  const std::string text = RunApart(program, test.name, &status);
  if (text.find("vt_shim: violation: ") == std::string::npos ||
      text.find(test.message) == std::string::npos ||
      (WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
    Fail(test.name, 0, std::string("expected \"") + test.message + "\", got:\n" + text);
  }
}

// A test leaves nothing alive and no script behind.
void RunTest(const Case &test) {
  vt_shim_set_script(nullptr);
  vt_shim_reset_counters();
  test.body();
  EXPECT_EQ(vt_shim_check_leaks(), 0);
}

}  // namespace

Registration::Registration(const char *name, std::function<void()> body) {
  Cases().push_back({name, std::move(body), nullptr});
}
Registration::Registration(const char *name, std::function<void()> body, const char *message) {
  Cases().push_back({name, std::move(body), message});
}

void Fail(const char *file, int line, const std::string &what) {
  fprintf(stderr, "FAILED %s:%d: %s\n", file, line, what.c_str());
  _exit(1);
}

bool Eventually(const std::function<bool()> &body) {
  for (int round = 0; round < 2000; ++round) {
    if (body()) {
      return true;
    }
    SleepMs(5);
  }
  return false;
}

void SleepMs(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

static int Main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "--violate") == 0) {
    for (const Case &test : Cases()) {
      if (strcmp(test.name, argv[2]) == 0) {
        test.body();
      }
    }
    return 0;
  }
  size_t count = 0;
  for (const Case &test : Cases()) {
    if (argc > 1 && strstr(test.name, argv[1]) == nullptr) {
      continue;
    }
    fprintf(stderr, "%s\n", test.name);
    test.message == nullptr ? RunTest(test) : ExpectViolation(argv[0], test);
    ++count;
  }
  fprintf(stderr, "%zu passed\n", count);
  return count == 0 ? 1 : 0;
}

}  // namespace self_test

int main(int argc, char **argv) {
  return self_test::Main(argc, argv);
}
