// A filter of system calls for this whole process, by libseccomp. Linux only.
#include <cerrno>
#include <memory>
#include <string>

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

}  // namespace

void RegisterSystemCalls(Napi::Object exports) {
  Export(exports, "allowSystemCalls", AllowSystemCalls);
}

}  // namespace vsockenc
