#pragma once

#include "../media/encoder/session_encoder.h"

namespace vsockenc::vt {

enum class Codec { kH264, kHevc };

// Of H.264; HEVC has Main alone.
enum class Profile { kConstrainedBaseline, kMain, kHigh };

struct Settings : StreamSettings {
  Codec codec;
  Profile profile;
};

}  // namespace vsockenc::vt
