#pragma once

#include <napi.h>

namespace vsockenc {

// What the addon keeps for each JavaScript environment (thread).
struct AddonData {
  Napi::FunctionReference picture_class;
};

}  // namespace vsockenc
