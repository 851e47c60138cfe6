// Definition of a constant string that is ready before any constructor runs.
#pragma once

#include "cf_types.h"

#define VT_SHIM_STRING(symbol, value)                          \
  static constinit const __CFString object_of_##symbol{value}; \
  const CFStringRef symbol = &object_of_##symbol;
