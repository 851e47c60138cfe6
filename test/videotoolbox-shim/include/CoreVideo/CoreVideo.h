// The subset of CoreVideo's C API that an encoder needs, for Linux. See ../../README.md.
#pragma once

#include <CoreVideo/CVImageBuffer.h>
#include <CoreVideo/CVPixelBuffer.h>
#include <CoreVideo/CVPixelBufferIOSurface.h>
#include <CoreVideo/CVPixelBufferPool.h>
#include <CoreVideo/CVReturn.h>
