#pragma once

#include <VideoToolbox/VideoToolbox.h>

#include "../media/encoder/session_encoder.h"
#include "../media/memory/staging.h"
#include "../media/picture/convert.h"
#include "cf.h"
#include "settings.h"

namespace vsockenc::vt {

// Makes of every source a buffer that the encoder takes as it is: NV12 of a pool of its session, in
// even size, tagged with its colours. The source can be drawn into again as soon as that is done.
//
// NV12 and I420 in memory are copied into the buffer. RGB in memory is copied into a buffer of
// BGRA, which VideoToolbox converts with the machine's own means, as it does a surface of another
// process. Where it cannot, libyuv converts on this thread: so sizes that are odd and need their
// last column and row repeated.
//
// One thread.
class Input {
 public:
  explicit Input(const Settings &settings);
  ~Input();
  Input(const Input &) = delete;
  Input &operator=(const Input &) = delete;

  // Throws PictureError when the source cannot be read or is not what the session was configured
  // for, VideoToolboxError when there are no buffers.
  CfRef<CVPixelBufferRef> Prepare(const FrameSource &source, CVPixelBufferPoolRef pool);

  // A black picture.
  CfRef<CVPixelBufferRef> Black(CVPixelBufferPoolRef pool) const;

 private:
  CfRef<CVPixelBufferRef> FromPixels(const Pixels &pixels, CVPixelBufferPoolRef pool);
  CfRef<CVPixelBufferRef> FromSurface(const Surface &surface, CVPixelBufferPoolRef pool);
  CfRef<CVPixelBufferRef> Packed(const Pixels &pixels);
  // False when VideoToolbox does not do it.
  bool Transfer(CVPixelBufferRef from, CVPixelBufferRef to);
  void Convert(const Pixels &from, CVPixelBufferRef to);
  void CheckSize(int width, int height) const;

  const Settings settings_;
  Staging staging_;  // for pictures that cannot be read in place
  Converter converter_;
  bool transfers_ = true;  // VideoToolbox converts what it is given
  CfRef<CVPixelBufferPoolRef> packed_pool_;
  CfRef<VTPixelTransferSessionRef> transfer_;
};

}  // namespace vsockenc::vt
