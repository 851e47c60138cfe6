#pragma once

#include <stdexcept>
#include <string>

namespace vsockenc {

// Why a picture could not be made. host/native/picture.ts has an error class for each.
enum class PictureFault {
  kInvalidLayout,          // a value that no layout can have
  kUnsupportedFormat,      // a fourcc or a number of planes that is not in the format table
  kLayoutOutsideResource,  // the layout names bytes that the resource does not have
  kUnstitchable,           // page boundaries or a budget forbid one linear mapping: gather instead
  kStagingSpent,           // no staging memory to gather or receive the pixels in
  kMapFailed,              // the descriptor is not a memory, or mmap refused
};

class PictureError : public std::runtime_error {
 public:
  PictureError(PictureFault fault, const std::string &message)
      : std::runtime_error(message), fault_(fault) {}
  PictureFault fault() const { return fault_; }

 private:
  PictureFault fault_;
};

}  // namespace vsockenc
