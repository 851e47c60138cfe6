#include "counters.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "object.h"

namespace vt_shim {

Counters &Count() {
  static auto *counters = new Counters;
  return *counters;
}

namespace {

// VT_SHIM_REPORT names a file for the counters, VT_SHIM_LEAKS is "report" or "abort".
void AtExit() {
  if (const char *path = getenv("VT_SHIM_REPORT"); path != nullptr) {
    FILE *file = fopen(path, "w");
    if (file == nullptr) {
      Violation(std::string("VT_SHIM_REPORT: cannot write ") + path);
    }
#define VT_SHIM_PRINT(name) \
  fprintf(file, "\"%s\": %llu, ", #name, static_cast<unsigned long long>(Count().name.load()));
    fprintf(file, "{");
    VT_SHIM_COUNTERS(VT_SHIM_PRINT)
    fprintf(file, "\"live_objects\": %zu}\n", vt_shim_live_objects(nullptr));
    fclose(file);
  }
  const char *leaks = getenv("VT_SHIM_LEAKS");
  if (leaks == nullptr) {
    return;
  }
  const size_t count = vt_shim_check_leaks();
  if (count > 0 && strcmp(leaks, "abort") == 0) {
    Violation(std::to_string(count) + " objects were never released");
  }
}

[[maybe_unused]] const int kRegistered = atexit(AtExit);

}  // namespace
}  // namespace vt_shim

void vt_shim_get_counters(vt_shim_counters *counters) {
#define VT_SHIM_COPY(name) counters->name = vt_shim::Count().name;
  VT_SHIM_COUNTERS(VT_SHIM_COPY)
}

void vt_shim_reset_counters(void) {
#define VT_SHIM_CLEAR(name) vt_shim::Count().name = 0;
  VT_SHIM_COUNTERS(VT_SHIM_CLEAR)
}
