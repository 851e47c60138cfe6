#include "convert.h"

#include <libyuv/convert.h>
#include <libyuv/convert_from.h>
#include <libyuv/convert_from_argb.h>
#include <libyuv/planar_functions.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

extern "C" {
#include <libavutil/frame.h>
#include <libavutil/pixfmt.h>
}

namespace vsockenc {
namespace {

// Rows converted at a time if an intermediate step needs memory: few enough to stay in the
// processor's cache, and even, so that no chroma sample is split.
constexpr int kBandRows = 16;

uint8_t *Row(const AVFrame &frame, int plane, int y) {
  return frame.data[plane] + static_cast<ptrdiff_t>(y) * frame.linesize[plane];
}

int CopyNv12(const Pixels &from, bool planar, AVFrame &to) {
  const auto &[y, uv, none] = from.planes;
  if (planar) {
    return libyuv::NV12ToI420(y.data, y.stride, uv.data, uv.stride, to.data[0], to.linesize[0],
                              to.data[1], to.linesize[1], to.data[2], to.linesize[2], from.width,
                              from.height);
  }
  return libyuv::NV12Copy(y.data, y.stride, uv.data, uv.stride, to.data[0], to.linesize[0],
                          to.data[1], to.linesize[1], from.width, from.height);
}

int CopyI420(const Pixels &from, bool planar, AVFrame &to) {
  const auto &[y, u, v] = from.planes;
  if (planar) {
    return libyuv::I420Copy(y.data, y.stride, u.data, u.stride, v.data, v.stride, to.data[0],
                            to.linesize[0], to.data[1], to.linesize[1], to.data[2], to.linesize[2],
                            from.width, from.height);
  }
  return libyuv::I420ToNV12(y.data, y.stride, u.data, u.stride, v.data, v.stride, to.data[0],
                            to.linesize[0], to.data[1], to.linesize[1], from.width, from.height);
}

// Chroma of an odd edge already has its own sample, for RGB the mean of the existing pixels, the
// same as if they were repeated. Only luma must be repeated.
void RepeatEdges(int width, int height, AVFrame &frame) {
  if (width % 2 != 0) {
    for (int y = 0; y < height; ++y) {
      uint8_t *row = Row(frame, 0, y);
      row[width] = row[width - 1];
    }
  }
  if (height % 2 != 0) {
    std::memcpy(Row(frame, 0, height), Row(frame, 0, height - 1), static_cast<size_t>(frame.width));
  }
}

}  // namespace

void Converter::Convert(const Pixels &from, AVFrame &frame) {
  if (frame.width != RoundUpToEven(from.width) || frame.height != RoundUpToEven(from.height)) {
    throw std::invalid_argument("the picture's size is not that of the encoder");
  }
  const bool planar = frame.format == AV_PIX_FMT_YUV420P;
  if (!planar && frame.format != AV_PIX_FMT_NV12) {
    throw std::invalid_argument("the encoder takes neither yuv420p nor nv12");
  }
  int result = -1;
  switch (from.format->kind) {
    case PixelKind::kRgb:
      result = ConvertRgb(from, frame);
      break;
    case PixelKind::kNv12:
      result = CopyNv12(from, planar, frame);
      break;
    case PixelKind::kI420:
      result = CopyI420(from, planar, frame);
      break;
  }
  if (result != 0) throw std::invalid_argument("libyuv rejects the picture");
  RepeatEdges(from.width, from.height, frame);
}

int Converter::ConvertRgb(const Pixels &from, AVFrame &frame) {
  const RgbConversions &rgb = from.format->rgb;
  const bool planar = frame.format == AV_PIX_FMT_YUV420P;
  const bool reorder = full_range_ && rgb.to_full == nullptr;
  const ToPlanar420 convert = reorder       ? libyuv::ARGBToJ420
                              : full_range_ ? rgb.to_full
                                            : rgb.to_limited;
  const int width = from.width;
  const int half = (width + 1) / 2;
  const int argb_stride = width * 4;
  const int band = planar && !reorder ? from.height : kBandRows;
  scratch_.resize(static_cast<size_t>(kBandRows) * static_cast<size_t>(argb_stride + half));
  uint8_t *argb = scratch_.data();
  uint8_t *scratch_u = argb + static_cast<ptrdiff_t>(kBandRows) * argb_stride;
  uint8_t *scratch_v = scratch_u + static_cast<ptrdiff_t>(kBandRows) / 2 * half;

  for (int top = 0; top < from.height; top += band) {
    const int rows = std::min(band, from.height - top);
    const uint8_t *source =
        from.planes[0].data + static_cast<ptrdiff_t>(top) * from.planes[0].stride;
    int stride = from.planes[0].stride;
    if (reorder) {
      if (rgb.to_argb(source, stride, argb, argb_stride, width, rows) != 0) return -1;
      source = argb;
      stride = argb_stride;
    }
    uint8_t *u = planar ? Row(frame, 1, top / 2) : scratch_u;
    uint8_t *v = planar ? Row(frame, 2, top / 2) : scratch_v;
    const int result = convert(source, stride, Row(frame, 0, top), frame.linesize[0], u,
                               planar ? frame.linesize[1] : half, v,
                               planar ? frame.linesize[2] : half, width, rows);
    if (result != 0) return result;
    if (!planar) {
      libyuv::MergeUVPlane(u, half, v, half, Row(frame, 1, top / 2), frame.linesize[1], half,
                           (rows + 1) / 2);
    }
  }
  return 0;
}

}  // namespace vsockenc
