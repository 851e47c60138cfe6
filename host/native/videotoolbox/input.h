#pragma once

#include <VideoToolbox/VideoToolbox.h>

#include "../media/encoder/session_encoder.h"
#include "../media/memory/staging.h"
#include "../media/picture/convert.h"
#include "cf.h"
#include "settings.h"

namespace vsockenc::vt {

// Converts every source to the encoder's input: NV12 in a buffer of the session's pool, of even
// size, tagged with its colours. The source may be overwritten as soon as that is done.
//
// NV12 and I420 in memory are copied into the buffer. RGB in memory is copied into a BGRA buffer,
// which VideoToolbox converts, as it does a surface of another process. If it cannot, libyuv
// converts on this thread; surfaces of odd size, whose last column and row are repeated, always go
// that way.
//
// One thread.
class Input {
 public:
  explicit Input(const Settings &settings);
  ~Input();
  Input(const Input &) = delete;
  Input &operator=(const Input &) = delete;

  // Throws PictureError when the source cannot be read or does not match the session's settings,
  // VideoToolboxError when no buffer is available.
  CfRef<CVPixelBufferRef> Prepare(const FrameSource &source, CVPixelBufferPoolRef pool);

  // A black picture.
  CfRef<CVPixelBufferRef> Black(CVPixelBufferPoolRef pool) const;

 private:
  CfRef<CVPixelBufferRef> FromPixels(const Pixels &pixels, CVPixelBufferPoolRef pool);
  CfRef<CVPixelBufferRef> FromSurface(const Surface &surface, CVPixelBufferPoolRef pool);
  CfRef<CVPixelBufferRef> Packed(const Pixels &pixels);
  // False when VideoToolbox cannot convert.
  bool Transfer(CVPixelBufferRef from, CVPixelBufferRef to);
  void Convert(const Pixels &from, CVPixelBufferRef to);
  void CheckSize(int width, int height) const;

  const Settings settings_;
  Staging staging_;  // for pictures that cannot be read in place
  Converter converter_;
  bool transfers_ = true;  // VideoToolbox supports the conversion
  CfRef<CVPixelBufferPoolRef> packed_pool_;
  CfRef<VTPixelTransferSessionRef> transfer_;
};

}  // namespace vsockenc::vt
