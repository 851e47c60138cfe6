#pragma once

#include <CoreFoundation/CoreFoundation.h>

#define VT_EXPORT CF_EXPORT
