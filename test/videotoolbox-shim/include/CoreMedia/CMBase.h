#pragma once

#include <CoreFoundation/CoreFoundation.h>

#define CM_EXPORT CF_EXPORT
typedef CFIndex CMItemCount;
typedef CFIndex CMItemIndex;
