// What the environment says to a process that does not know of the shim, such as Node.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "fixture.h"
#include "harness.h"

using self_test::CreateSession;

static void NoOutput(void *, void *, OSStatus, VTEncodeInfoFlags, CMSampleBufferRef) {}

VIOLATION(script_of_the_environment, "no rule is called \"fial\"") {
  setenv("VT_SHIM_SCRIPT", "fial:1", 1);
  self_test::Session session;
}

VIOLATION(script_file_is_read_again, "no rule is called \"changed\"") {
  const int descriptor = memfd_create("script", 0);
  const std::string path = "/proc/self/fd/" + std::to_string(descriptor);
  EXPECT(write(descriptor, "refuse:*:-12907\n", 16) == 16);
  setenv("VT_SHIM_SCRIPT_FILE", path.c_str(), 1);
  VTCompressionSessionRef session = nullptr;
  EXPECT_EQ(CreateSession({}, NoOutput, nullptr, &session), kVTCouldNotCreateInstanceErr);
  self_test::SleepMs(20);  // the file's time has to change
  EXPECT(pwrite(descriptor, "changed;        ", 16, 0) == 16);
  CreateSession({}, NoOutput, nullptr, &session);
}

VIOLATION(report_at_exit, "\"encoding_ns\": 0, \"live_objects\": 1}") {
  setenv("VT_SHIM_REPORT", "/dev/stderr", 1);
  setenv("VT_SHIM_LEAKS", "abort", 1);
  self_test::NewBuffer(kCVPixelFormatType_32BGRA, 16, 16);
}
