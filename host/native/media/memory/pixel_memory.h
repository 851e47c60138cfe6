#pragma once

#include <cstddef>
#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>

namespace vsockenc {

// Reasons why a picture is rejected. host/native/picture.ts has an error class for each.
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
  // The message consists of the parts, one after the other.
  template <typename... Parts>
  explicit PictureError(PictureFault fault, const Parts &...parts)
      : std::runtime_error(Join(parts...)), fault_(fault) {}
  PictureFault fault() const { return fault_; }

 private:
  template <typename... Parts>
  static std::string Join(const Parts &...parts) {
    std::ostringstream text;
    (text << ... << parts);
    return text.str();
  }

  PictureFault fault_;
};

// How the host reaches the pixels: SourceTier of proto/buffer.proto.
enum class Tier { kResource, kResourceGather, kInline };

// The bytes of one resource of a picture, from some byte on.
class PixelMemory {
 public:
  virtual ~PixelMemory() = default;

  virtual Tier tier() const = 0;
  // The byte of the resource at the address that Read() returns.
  virtual uint64_t begin() const = 0;
  // Bytes from there on.
  virtual uint64_t bytes() const = 0;
  // Number of contiguous runs of memory that they consist of.
  virtual size_t runs() const = 0;
  // Bytes of staging memory that Read needs.
  virtual uint64_t staging_bytes() const = 0;
  // The bytes as they are now, linear; in `staging` if staging_bytes() is not 0. May be called on
  // several threads at a time, each with staging of its own. Throws PictureError.
  virtual const uint8_t *Read(uint8_t *staging) const = 0;
};

}  // namespace vsockenc
