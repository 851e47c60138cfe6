#include "colour.h"

#include "cf.h"

namespace vsockenc::vt {
namespace {

// ISO/IEC 23091-2, tables 2 to 4. Code points of the same definition share a name.
CFStringRef Primaries(int code_point) {
  switch (code_point) {
    case 1:
      return kCVImageBufferColorPrimaries_ITU_R_709_2;
    case 5:
      return kCVImageBufferColorPrimaries_EBU_3213;
    case 6:
    case 7:
      return kCVImageBufferColorPrimaries_SMPTE_C;
    case 9:
      return kCVImageBufferColorPrimaries_ITU_R_2020;
    case 12:
      return kCVImageBufferColorPrimaries_P3_D65;
    default:
      return nullptr;
  }
}

CFStringRef Transfer(int code_point) {
  switch (code_point) {
    case 1:
    case 6:
      return kCVImageBufferTransferFunction_ITU_R_709_2;
    case 7:
      return kCVImageBufferTransferFunction_SMPTE_240M_1995;
    case 8:
      return kCVImageBufferTransferFunction_Linear;
    case 13:
      return kCVImageBufferTransferFunction_sRGB;
    case 14:
    case 15:
      return kCVImageBufferTransferFunction_ITU_R_2020;
    case 16:
      return kCVImageBufferTransferFunction_SMPTE_ST_2084_PQ;
    case 18:
      return kCVImageBufferTransferFunction_ITU_R_2100_HLG;
    default:
      return nullptr;
  }
}

CFStringRef Matrix(int code_point) {
  switch (code_point) {
    case 1:
      return kCVImageBufferYCbCrMatrix_ITU_R_709_2;
    case 5:
    case 6:
      return kCVImageBufferYCbCrMatrix_ITU_R_601_4;
    case 7:
      return kCVImageBufferYCbCrMatrix_SMPTE_240M_1995;
    case 9:
      return kCVImageBufferYCbCrMatrix_ITU_R_2020;
    default:
      return nullptr;
  }
}

void Attach(CVPixelBufferRef buffer, CFStringRef key, CFTypeRef value) {
  if (value == nullptr) {
    CVBufferRemoveAttachment(buffer, key);
  } else {
    CVBufferSetAttachment(buffer, key, value, kCVAttachmentMode_ShouldPropagate);
  }
}

}  // namespace

ColourNames NamesOf(const ColourDescription &colour) {
  return {Primaries(colour.primaries), Transfer(colour.transfer), Matrix(colour.matrix)};
}

void Tag(CVPixelBufferRef buffer, const Settings &settings) {
  const ColourNames names = NamesOf(settings.colour);
  Attach(buffer, kCVImageBufferColorPrimariesKey, names.primaries);
  Attach(buffer, kCVImageBufferTransferFunctionKey, names.transfer);
  const CFStringRef chroma = ChromaLocation(settings) == 1 ? kCVImageBufferChromaLocation_Center
                                                           : kCVImageBufferChromaLocation_Left;
  const bool yuv = CVPixelBufferIsPlanar(buffer);
  Attach(buffer, kCVImageBufferYCbCrMatrixKey, yuv ? names.matrix : nullptr);
  Attach(buffer, kCVImageBufferChromaLocationTopFieldKey, yuv ? chroma : nullptr);
  Attach(buffer, kCVImageBufferChromaLocationBottomFieldKey, yuv ? chroma : nullptr);
  const auto [horizontal, vertical] = settings.pixel_aspect_ratio;
  Attach(buffer, kCVImageBufferPixelAspectRatioKey,
         Dictionary({
                        {kCVImageBufferPixelAspectRatioHorizontalSpacingKey,
                         Number(int32_t{horizontal}).get()},
                        {kCVImageBufferPixelAspectRatioVerticalSpacingKey,
                         Number(int32_t{vertical}).get()},
                    })
             .get());
}

}  // namespace vsockenc::vt
