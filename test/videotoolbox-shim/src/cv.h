// CoreVideo's and IOSurface's objects.
#pragma once

#include <CoreVideo/CoreVideo.h>

#include <memory>
#include <mutex>
#include <vector>

#include "cf.h"
#include "pixels.h"

namespace vt_shim {

// The part of a surface that the window server keeps; every IOSurfaceRef of it shares this.
struct SurfaceCore {
  PixelLayout layout;
  std::shared_ptr<uint8_t> pixels;
  IOSurfaceID id = 0;
  bool global = false;
  std::atomic<int32_t> use_count = 0;
  std::atomic<int> locks = 0;
  std::atomic<int> encoding = 0;  // frames of it that an encoder may still read
};

struct PoolCore;

}  // namespace vt_shim

struct __IOSurface final : vt_shim::ObjectOf<__IOSurface> {
  static constexpr char kType[] = "IOSurface";
  explicit __IOSurface(std::shared_ptr<vt_shim::SurfaceCore> shared) : core(std::move(shared)) {}
  std::string Describe() const override;
  const std::shared_ptr<vt_shim::SurfaceCore> core;
};

namespace vt_shim {

// Memory of a pixel buffer: a surface's or its own.
struct Backing {
  PixelLayout layout;
  Ref<__IOSurface> surface;
  std::shared_ptr<uint8_t> pixels;
};

// A surface of this process, registered under a new id.
Ref<__IOSurface> MakeSurface(const PixelLayout &layout, bool global);

// nullopt when CoreVideo does not know the format.
std::optional<Backing> MakeBacking(OSType format, size_t width, size_t height, bool surface);

// The memory that buffers of a pool share in turn.
struct PoolCore {
  OSType format;
  size_t width;
  size_t height;
  bool surfaces;
  std::mutex mutex;
  std::vector<Backing> idle;
};

}  // namespace vt_shim

struct __CVBuffer final : vt_shim::ObjectOf<__CVBuffer> {
  static constexpr char kType[] = "CVPixelBuffer";
  explicit __CVBuffer(vt_shim::Backing memory, std::shared_ptr<vt_shim::PoolCore> owner = nullptr)
      : backing(std::move(memory)), pool(std::move(owner)) {}
  ~__CVBuffer() override;
  std::string Describe() const override;
  // A string attachment; "" when there is none.
  std::string AttachmentText(CFStringRef key);
  // Counts the frames of it that an encoder may still read.
  void AddEncoding(int change);
  // Ends the process if there is such a frame: the picture is about to be written.
  void CheckNotEncoding(const char *where) const;

  vt_shim::Backing backing;
  const std::shared_ptr<vt_shim::PoolCore> pool;  // that its memory goes back to
  std::atomic<int> locks = 0;
  std::atomic<int> encoding = 0;
  std::mutex attachments_mutex;
  __CFDictionary attachments{vt_shim::kImmortal};
};

struct __CVPixelBufferPool final : vt_shim::ObjectOf<__CVPixelBufferPool> {
  static constexpr char kType[] = "CVPixelBufferPool";
  const std::shared_ptr<vt_shim::PoolCore> core = std::make_shared<vt_shim::PoolCore>();
};
