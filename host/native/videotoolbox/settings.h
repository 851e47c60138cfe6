#pragma once

#include <cstdint>

#include "../media/bitstream/video_signal.h"
#include "../media/encoder/session_encoder.h"

namespace vsockenc::vt {

enum class Codec { kH264, kHevc };

// Of H.264; HEVC has Main alone.
enum class Profile { kConstrainedBaseline, kMain, kHigh };

struct Settings {
  Codec codec;
  Profile profile;
  int width;  // of the visible picture; the encoder gets even numbers
  int height;
  Rational framerate;  // what rate control counts with; neither is 0
  bool fixed_rate;     // whether the VUI states it
  Rational pixel_aspect_ratio;
  ColourDescription colour;  // of what is encoded
  bool rgb;                  // what comes, rather than NV12 or I420
  Rates rates;
  int keyframe_interval;  // frames from one key frame to the next
};

}  // namespace vsockenc::vt
