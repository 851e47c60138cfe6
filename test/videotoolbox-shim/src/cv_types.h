// CoreVideo's and IOSurface's objects.
#pragma once

#include <CoreVideo/CoreVideo.h>

#include <memory>
#include <mutex>
#include <vector>

#include "cf_types.h"
#include "pixel_layout.h"

namespace vt_shim {

// What the window server keeps of a surface; every IOSurfaceRef of it shares this.
struct SurfaceCore {
  PixelLayout layout;
  std::shared_ptr<uint8_t> pixels;
  IOSurfaceID id = 0;
  bool global = false;
  std::atomic<int32_t> use_count = 0;
  std::atomic<int> locks = 0;
  std::atomic<uint32_t> seed = 0;
  std::atomic<int> encoding = 0;  // frames of it that an encoder may still read
};

struct PoolCore;

}  // namespace vt_shim

struct __IOSurface final : vt_shim::ObjectOf<__IOSurface> {
  explicit __IOSurface(std::shared_ptr<vt_shim::SurfaceCore> shared);
  std::string Describe() const override;
  void Finalize() override { core.reset(); }
  std::shared_ptr<vt_shim::SurfaceCore> core;
};

namespace vt_shim {

// Memory of a pixel buffer: a surface's or its own.
struct Backing {
  PixelLayout layout;
  Ref<__IOSurface> surface;
  std::shared_ptr<uint8_t> pixels;
};

// nullopt when CoreVideo does not know the format.
std::optional<Backing> MakeBacking(OSType format, size_t width, size_t height, bool surface);

// A surface of this process, registered under a new id.
Ref<__IOSurface> MakeSurface(const PixelLayout &layout, bool global);

}  // namespace vt_shim

struct __CVBuffer final : vt_shim::ObjectOf<__CVBuffer> {
  explicit __CVBuffer(vt_shim::Backing memory);
  std::string Describe() const override;
  void Finalize() override;

  struct Attachment {
    vt_shim::AnyRef key;
    vt_shim::AnyRef value;
    CVAttachmentMode mode;
  };

  vt_shim::Backing backing;
  std::shared_ptr<vt_shim::PoolCore> pool;  // that its memory goes back to
  CVPixelBufferReleaseBytesCallback release = nullptr;
  void *release_refcon = nullptr;
  const void *release_base = nullptr;
  std::atomic<int> locks = 0;
  std::atomic<int> encoding = 0;  // frames of it that an encoder may still read
  std::mutex attachments_mutex;
  std::vector<Attachment> attachments;
};

struct __CVPixelBufferPool final : vt_shim::ObjectOf<__CVPixelBufferPool> {
  explicit __CVPixelBufferPool(std::shared_ptr<vt_shim::PoolCore> shared,
                               vt_shim::Ref<__CFDictionary> pixel_buffer_attributes);
  void Finalize() override;
  std::shared_ptr<vt_shim::PoolCore> core;
  vt_shim::Ref<__CFDictionary> attributes;
};

namespace vt_shim {

template <>
inline constexpr Type kTypeOf<__IOSurface>{"IOSurface", 30};
template <>
inline constexpr Type kTypeOf<__CVBuffer>{"CVPixelBuffer", 31};
template <>
inline constexpr Type kTypeOf<__CVPixelBufferPool>{"CVPixelBufferPool", 32};

// The memory that buffers of a pool share in turn.
struct PoolCore {
  OSType format;
  size_t width;
  size_t height;
  bool surfaces;
  std::mutex mutex;
  std::vector<Backing> idle;
  size_t in_use = 0;
};

// Ends the process if an encoder may still read the picture that is about to be written.
void CheckNotEncoding(const __CVBuffer &buffer, const char *where);

// What an attachment's value, a string, says; "" when there is none.
std::string AttachmentText(__CVBuffer &buffer, CFStringRef key);

}  // namespace vt_shim
