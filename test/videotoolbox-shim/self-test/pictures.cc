// Behaviours 14 and 15, pools and transfers.
#include <algorithm>
#include <cstdlib>

#include "fixture.h"

namespace self_test {

TEST(lookup_gives_references_of_their_own) {
  auto surface = NewSurface(kCVPixelFormatType_32BGRA, 64, kHeight, true);
  const IOSurfaceID id = IOSurfaceGetID(surface.get());
  auto one = CfRef<IOSurfaceRef>::Adopt(IOSurfaceLookup(id));
  auto two = CfRef<IOSurfaceRef>::Adopt(IOSurfaceLookup(id));
  EXPECT(one.get() != two.get() && one.get() != surface.get());
  EXPECT_EQ(vt_shim_surface_references(id), 3);
  IOSurfaceLock(surface.get(), 0, nullptr);
  *static_cast<uint8_t *>(IOSurfaceGetBaseAddress(surface.get())) = 77;
  IOSurfaceUnlock(surface.get(), 0, nullptr);
  IOSurfaceIncrementUseCount(one.get());
  EXPECT_EQ(IOSurfaceGetUseCount(surface.get()), 1);
  IOSurfaceDecrementUseCount(two.get());
  surface = two = {};
  IOSurfaceLock(one.get(), kIOSurfaceLockReadOnly, nullptr);
  EXPECT_EQ(*static_cast<uint8_t *>(IOSurfaceGetBaseAddress(one.get())), 77);
  IOSurfaceUnlock(one.get(), kIOSurfaceLockReadOnly, nullptr);
  one = {};
  EXPECT(IOSurfaceLookup(id) == nullptr);
}

TEST(lookup_fails_for_private_and_scripted_ids) {
  vt_shim_set_script("lookup-null:2");
  const auto hidden = NewSurface(kCVPixelFormatType_32BGRA, 64, kHeight, false);
  const auto global = NewSurface(kCVPixelFormatType_32BGRA, 64, kHeight, true);
  EXPECT(IOSurfaceLookup(IOSurfaceGetID(hidden.get())) == nullptr);
  EXPECT(IOSurfaceLookup(IOSurfaceGetID(global.get())) == nullptr);
  const auto found = CfRef<IOSurfaceRef>::Adopt(IOSurfaceLookup(IOSurfaceGetID(global.get())));
  EXPECT(static_cast<bool>(found));
  EXPECT(IOSurfaceLookup(4000000) == nullptr);
}

VIOLATION(surface_read_without_a_lock, "the surface is not locked") {
  IOSurfaceGetBaseAddress(NewSurface(kCVPixelFormatType_32BGRA, 64, kHeight, true).get());
}

VIOLATION(use_count_below_zero, "the use count is 0 already") {
  IOSurfaceDecrementUseCount(NewSurface(kCVPixelFormatType_32BGRA, 64, kHeight, true).get());
}

TEST(addresses_need_a_lock) {
  const auto buffer = NewBuffer(kCVPixelFormatType_32BGRA);
  EXPECT(CVPixelBufferGetBaseAddress(buffer.get()) == nullptr);
  EXPECT(CVPixelBufferGetBytesPerRow(buffer.get()) > 64 * 4);
}

static OSStatus Transfer(CVPixelBufferRef from, CVPixelBufferRef to) {
  CfRef<VTPixelTransferSessionRef> session;
  EXPECT_EQ(VTPixelTransferSessionCreate(nullptr, session.Out()), noErr);
  const OSStatus status = VTPixelTransferSessionTransferImage(session.get(), from, to);
  VTPixelTransferSessionInvalidate(session.get());
  EXPECT_EQ(VTPixelTransferSessionTransferImage(session.get(), from, to), kVTInvalidSessionErr);
  return status;
}

TEST(foreign_formats_are_refused_where_a_mac_refuses_them) {
  const auto unknown = NewSurface(0x58585858, 64, kHeight, true);
  EXPECT_EQ(IOSurfaceGetPixelFormat(unknown.get()), 0x58585858);
  CfRef<CVPixelBufferRef> buffer;
  EXPECT_EQ(CVPixelBufferCreateWithIOSurface(nullptr, unknown.get(), nullptr, buffer.Out()),
            kCVReturnInvalidPixelFormat);
  const auto deep = NewSurface(kCVPixelFormatType_64RGBAHalf, 64, kHeight, true);
  EXPECT_EQ(CVPixelBufferCreateWithIOSurface(nullptr, deep.get(), nullptr, buffer.Out()),
            kCVReturnSuccess);
  const auto target = NewBuffer(kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange);
  EXPECT_EQ(Transfer(buffer.get(), target.get()), kVTPixelTransferNotSupportedErr);
  Session session;
  EXPECT_EQ(session.Encode(buffer.get(), 0), kVTPixelTransferNotSupportedErr);
}

static void ExpectSample(CVPixelBufferRef buffer, size_t plane, size_t byte, int expected) {
  CVPixelBufferLockBaseAddress(buffer, kCVPixelBufferLock_ReadOnly);
  const int value = static_cast<uint8_t *>(CVPixelBufferGetBaseAddressOfPlane(buffer, plane))[byte];
  CVPixelBufferUnlockBaseAddress(buffer, kCVPixelBufferLock_ReadOnly);
  Expect(std::abs(value - expected) <= 1,
         std::to_string(value) + " instead of " + std::to_string(expected));
}

static void FillRed(CVPixelBufferRef buffer) {
  CVPixelBufferLockBaseAddress(buffer, 0);
  auto *bytes = static_cast<uint8_t *>(CVPixelBufferGetBaseAddress(buffer));
  for (size_t row = 0; row < CVPixelBufferGetHeight(buffer); ++row) {
    for (size_t column = 0; column < CVPixelBufferGetWidth(buffer); ++column) {
      const uint8_t red[] = {0, 0, 255, 255};
      std::copy(red, red + 4, bytes + row * CVPixelBufferGetBytesPerRow(buffer) + column * 4);
    }
  }
  CVPixelBufferUnlockBaseAddress(buffer, 0);
}

// Values of red: BT.709 and BT.601, video range (ITU-R BT.709-6 and BT.601-7).
TEST(transfer_converts_and_scales_by_the_attached_matrix) {
  const auto source = NewBuffer(kCVPixelFormatType_32BGRA);
  FillRed(source.get());
  const auto target = NewBuffer(kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange, 32, 24);
  const auto tag = [&](CFStringRef matrix) {
    CVBufferSetAttachment(target.get(), kCVImageBufferYCbCrMatrixKey, matrix,
                          kCVAttachmentMode_ShouldPropagate);
    EXPECT_EQ(Transfer(source.get(), target.get()), noErr);
  };
  tag(kCVImageBufferYCbCrMatrix_ITU_R_709_2);
  ExpectSample(target.get(), 0, 0, 63);
  ExpectSample(target.get(), 1, 0, 102);
  ExpectSample(target.get(), 1, 1, 240);
  tag(kCVImageBufferYCbCrMatrix_ITU_R_601_4);
  ExpectSample(target.get(), 0, 0, 81);
  const auto full = NewBuffer(kCVPixelFormatType_420YpCbCr8PlanarFullRange, 32, 24);
  EXPECT_EQ(Transfer(target.get(), full.get()), noErr);
  ExpectSample(full.get(), 0, 0, 76);
  ExpectSample(full.get(), 2, 0, 255);
}

VIOLATION(transfer_into_a_buffer_that_is_being_encoded, "the encoder may still read") {
  vt_shim_set_script("delay:*:100");
  Session session;
  const auto buffer = session.NewPicture(0);
  session.Encode(buffer.get(), 0);
  Transfer(NewBuffer(kCVPixelFormatType_32BGRA).get(), buffer.get());
}

TEST(transfer_fails_as_scripted) {
  vt_shim_set_script("transfer:1:-12905");
  const auto source = NewBuffer(kCVPixelFormatType_32BGRA);
  const auto target = NewBuffer(kCVPixelFormatType_32BGRA);
  EXPECT_EQ(Transfer(source.get(), target.get()), kVTPixelTransferNotSupportedErr);
  EXPECT_EQ(Transfer(source.get(), target.get()), noErr);
}

TEST(pool_recycles_and_fails_as_scripted) {
  vt_shim_set_script("pool:3:-6662");
  Session session;
  const auto surface = [&] {
    return IOSurfaceGetID(CVPixelBufferGetIOSurface(session.NewPicture(0).get()));
  };
  EXPECT_EQ(surface(), surface());
  CfRef<CVPixelBufferRef> refused;
  EXPECT_EQ(CVPixelBufferPoolCreatePixelBuffer(
                nullptr, VTCompressionSessionGetPixelBufferPool(session.get()), refused.Out()),
            kCVReturnAllocationFailed);
}

TEST(attachments_are_owned_and_counted) {
  Session session;
  const auto buffer = session.NewPicture(0);
  const auto number = Number(int32_t{5});
  CVBufferSetAttachment(buffer.get(), CFSTR("key"), number.get(),
                        kCVAttachmentMode_ShouldNotPropagate);
  EXPECT_EQ(CFGetRetainCount(number.get()), 2);
  CVBufferRemoveAttachment(buffer.get(), CFSTR("key"));
  EXPECT_EQ(CFGetRetainCount(number.get()), 1);
  const std::pair<CFStringRef, CFStringRef> tags[] = {
      {kCVImageBufferColorPrimariesKey, kCVImageBufferColorPrimaries_ITU_R_709_2},
      {kCVImageBufferTransferFunctionKey, kCVImageBufferTransferFunction_ITU_R_709_2},
      {kCVImageBufferYCbCrMatrixKey, kCVImageBufferYCbCrMatrix_ITU_R_709_2}};
  for (const auto &[key, value] : tags) {
    CVBufferSetAttachment(buffer.get(), key, value, kCVAttachmentMode_ShouldPropagate);
  }
  session.Encode(buffer.get(), 0);
  EXPECT_EQ(session.Complete(), noErr);
  EXPECT_EQ(Counters().untagged_frames, 0);
  EXPECT_EQ(Counters().converted_frames, 0);
}

}  // namespace self_test
