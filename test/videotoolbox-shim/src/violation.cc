#include "violation.h"

#include <cstdio>
#include <cstdlib>

namespace vt_shim {

void Violation(const std::string &message) {
  fprintf(stderr, "vt_shim: violation: %s\n", message.c_str());
  fflush(stderr);
  abort();
}

}  // namespace vt_shim
