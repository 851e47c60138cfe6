// What this whole process is: a filter of its system calls, by libseccomp (Linux only), and the
// program that it runs.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "addon.h"
#ifdef VSOCKENC_SECCOMP
#include <seccomp.h>
#endif

namespace vsockenc {

namespace {

int Allow(const Napi::Array &names) {
#ifdef VSOCKENC_SECCOMP
  const std::unique_ptr<void, decltype(&seccomp_release)> filter(
      seccomp_init(SCMP_ACT_ERRNO(EPERM)), seccomp_release);
  int result = filter == nullptr ? -ENOMEM : 0;
  // Every thread, the ones that run already included.
  if (result == 0) result = seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1);
  for (uint32_t i = 0; i < names.Length(); i++) {
    const int number = seccomp_syscall_resolve_name(Argument<std::string>(names.Get(i)).c_str());
    // Another processor's, or one that this libseccomp does not know.
    if (result != 0 || number < 0) continue;
    result = seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, number, 0);
  }
  if (result == 0) result = seccomp_load(filter.get());
  errno = -result;
  return result == 0 ? 0 : -1;
#else
  (void)names;
  errno = ENOSYS;
  return -1;
#endif
}

// allowSystemCalls(names): every thread makes these, and no others: those fail with EPERM.
void AllowSystemCalls(Napi::Env, Napi::Array names) {
  Check(Allow(names), "seccomp");
}

// execute(path, args, descriptors): becomes another program, which gets these descriptors.
void Execute(Napi::Env, std::string path, Napi::Array args, Napi::Array descriptors) {
  std::vector<std::string> words{path};
  for (uint32_t i = 0; i < args.Length(); i++) {
    words.push_back(Argument<std::string>(args.Get(i)));
  }
  std::vector<char *> argv;
  for (std::string &word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  // Node closes every descriptor on exec.
  for (uint32_t i = 0; i < descriptors.Length(); i++) {
    fcntl(Argument<int>(descriptors.Get(i)), F_SETFD, 0);
  }
  Check(execv(path.c_str(), argv.data()), path.c_str());
}

}  // namespace

void RegisterSystemCalls(Napi::Object exports) {
  Export(exports, "allowSystemCalls", AllowSystemCalls);
  Export(exports, "execute", Execute);
}

}  // namespace vsockenc
