// The subset of VideoToolbox's C API that an encoder needs, for Linux. See ../../README.md.
#pragma once

#include <VideoToolbox/VTCompressionProperties.h>
#include <VideoToolbox/VTCompressionSession.h>
#include <VideoToolbox/VTErrors.h>
#include <VideoToolbox/VTPixelTransferProperties.h>
#include <VideoToolbox/VTPixelTransferSession.h>
#include <VideoToolbox/VTSession.h>
#include <VideoToolbox/VTVideoEncoderList.h>
