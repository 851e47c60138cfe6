#pragma once

#include <stdexcept>
#include <string>

namespace vsockenc {

// Reasons why a picture is rejected. host/native/picture-error.ts has an error class for each.
enum class PictureFault {
  kInvalidLayout,          // a value outside its limits
  kUnsupportedFormat,      // a fourcc or a number of planes that is not in the format table
  kLayoutOutsideResource,  // the layout needs bytes that the resource does not have
  kUnstitchable,           // not page-aligned, or over the budget of mappings: gather instead
  kStagingSpent,           // not enough staging memory to gather or receive the pixels
  kMapFailed,              // the descriptor is not memory, or mmap failed
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
