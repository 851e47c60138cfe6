#include "settings.h"

#include <algorithm>
#include <span>

#include "cf.h"

namespace vsockenc::vt {
namespace {

// ISO/IEC 23091-2, tables 2 to 4. Code points of the same definition share a name. The names are
// references to constants whose values are known only at run time.
struct Name {
  int code_point;
  const CFStringRef &name;
};
constexpr Name kPrimaries[] = {
    {1, kCVImageBufferColorPrimaries_ITU_R_709_2}, {5, kCVImageBufferColorPrimaries_EBU_3213},
    {6, kCVImageBufferColorPrimaries_SMPTE_C},     {7, kCVImageBufferColorPrimaries_SMPTE_C},
    {9, kCVImageBufferColorPrimaries_ITU_R_2020},  {12, kCVImageBufferColorPrimaries_P3_D65},
};
constexpr Name kTransfers[] = {
    {1, kCVImageBufferTransferFunction_ITU_R_709_2},
    {6, kCVImageBufferTransferFunction_ITU_R_709_2},
    {7, kCVImageBufferTransferFunction_SMPTE_240M_1995},
    {8, kCVImageBufferTransferFunction_Linear},
    {13, kCVImageBufferTransferFunction_sRGB},
    {14, kCVImageBufferTransferFunction_ITU_R_2020},
    {15, kCVImageBufferTransferFunction_ITU_R_2020},
    {16, kCVImageBufferTransferFunction_SMPTE_ST_2084_PQ},
    {18, kCVImageBufferTransferFunction_ITU_R_2100_HLG},
};
constexpr Name kMatrices[] = {
    {1, kCVImageBufferYCbCrMatrix_ITU_R_709_2}, {5, kCVImageBufferYCbCrMatrix_ITU_R_601_4},
    {6, kCVImageBufferYCbCrMatrix_ITU_R_601_4}, {7, kCVImageBufferYCbCrMatrix_SMPTE_240M_1995},
    {9, kCVImageBufferYCbCrMatrix_ITU_R_2020},
};

CFStringRef Find(std::span<const Name> names, int code_point) {
  const auto found = std::ranges::find(names, code_point, &Name::code_point);
  return found == names.end() ? nullptr : found->name;
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
  return {Find(kPrimaries, colour.primaries), Find(kTransfers, colour.transfer),
          Find(kMatrices, colour.matrix)};
}

void Tag(CVPixelBufferRef buffer, const Settings &settings) {
  const ColourNames names = NamesOf(settings.colour);
  const CFStringRef chroma = ChromaLocation(settings) == 1 ? kCVImageBufferChromaLocation_Center
                                                           : kCVImageBufferChromaLocation_Left;
  const bool yuv = CVPixelBufferIsPlanar(buffer);
  Attach(buffer, kCVImageBufferColorPrimariesKey, names.primaries);
  Attach(buffer, kCVImageBufferTransferFunctionKey, names.transfer);
  Attach(buffer, kCVImageBufferYCbCrMatrixKey, yuv ? names.matrix : nullptr);
  Attach(buffer, kCVImageBufferChromaLocationTopFieldKey, yuv ? chroma : nullptr);
  Attach(buffer, kCVImageBufferChromaLocationBottomFieldKey, yuv ? chroma : nullptr);
  const auto [horizontal, vertical] = settings.pixel_aspect_ratio;
  const auto width = Number(int32_t{horizontal});
  const auto height = Number(int32_t{vertical});
  Attach(buffer, kCVImageBufferPixelAspectRatioKey,
         Dictionary({{kCVImageBufferPixelAspectRatioHorizontalSpacingKey, width.get()},
                     {kCVImageBufferPixelAspectRatioVerticalSpacingKey, height.get()}})
             .get());
}

}  // namespace vsockenc::vt
