// The subset of CoreMedia's C API that an encoder needs, for Linux. See ../../README.md.
#pragma once

#include <CoreMedia/CMBlockBuffer.h>
#include <CoreMedia/CMFormatDescription.h>
#include <CoreMedia/CMSampleBuffer.h>
#include <CoreMedia/CMTime.h>
