// The C API of IOSurface that an encoder needs, for Linux. See ../../README.md.
#pragma once

#include <IOSurface/IOSurfaceRef.h>
