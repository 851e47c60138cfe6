// Behaviours 14 and 15, pools and transfers.
#include <cstdlib>

#include "fixture.h"
#include "harness.h"
#include "vt_shim.h"

using self_test::NewBuffer;
using self_test::NewSurface;
using self_test::Session;

TEST(lookup_gives_references_of_their_own) {
  IOSurfaceRef surface = NewSurface(kCVPixelFormatType_32BGRA, 64, 48, true);
  const IOSurfaceID id = IOSurfaceGetID(surface);
  IOSurfaceRef one = IOSurfaceLookup(id);
  IOSurfaceRef two = IOSurfaceLookup(id);
  EXPECT(one != nullptr && two != nullptr && one != two && one != surface);
  EXPECT_EQ(vt_shim_surface_references(id), 3);
  IOSurfaceLock(surface, 0, nullptr);
  *static_cast<uint8_t *>(IOSurfaceGetBaseAddress(surface)) = 77;
  IOSurfaceUnlock(surface, 0, nullptr);
  IOSurfaceIncrementUseCount(one);
  EXPECT(IOSurfaceIsInUse(surface));
  IOSurfaceDecrementUseCount(two);
  CFRelease(surface);
  CFRelease(two);
  IOSurfaceLock(one, kIOSurfaceLockReadOnly, nullptr);
  EXPECT_EQ(*static_cast<uint8_t *>(IOSurfaceGetBaseAddress(one)), 77);
  IOSurfaceUnlock(one, kIOSurfaceLockReadOnly, nullptr);
  CFRelease(one);
  EXPECT(IOSurfaceLookup(id) == nullptr);
}

TEST(lookup_fails_for_private_and_scripted_ids) {
  vt_shim_set_script("lookup-null:2");
  IOSurfaceRef hidden = NewSurface(kCVPixelFormatType_32BGRA, 64, 48, false);
  IOSurfaceRef global = NewSurface(kCVPixelFormatType_32BGRA, 64, 48, true);
  EXPECT(IOSurfaceLookup(IOSurfaceGetID(hidden)) == nullptr);
  EXPECT(IOSurfaceLookup(IOSurfaceGetID(global)) == nullptr);
  IOSurfaceRef found = IOSurfaceLookup(IOSurfaceGetID(global));
  EXPECT(found != nullptr);
  EXPECT(IOSurfaceLookup(4000000) == nullptr);
  CFRelease(found);
  CFRelease(hidden);
  CFRelease(global);
}

VIOLATION(surface_read_without_a_lock, "the surface is not locked") {
  IOSurfaceGetBaseAddress(NewSurface(kCVPixelFormatType_32BGRA, 64, 48, true));
}

TEST(addresses_need_a_lock) {
  CVPixelBufferRef buffer = NewBuffer(kCVPixelFormatType_32BGRA, 64, 48);
  EXPECT(CVPixelBufferGetBaseAddress(buffer) == nullptr);
  EXPECT(CVPixelBufferGetBytesPerRow(buffer) > 64 * 4);
  CVPixelBufferRelease(buffer);
}

static OSStatus Transfer(CVPixelBufferRef from, CVPixelBufferRef to) {
  VTPixelTransferSessionRef session = nullptr;
  EXPECT_EQ(VTPixelTransferSessionCreate(nullptr, &session), noErr);
  const OSStatus status = VTPixelTransferSessionTransferImage(session, from, to);
  VTPixelTransferSessionInvalidate(session);
  EXPECT_EQ(VTPixelTransferSessionTransferImage(session, from, to), kVTInvalidSessionErr);
  CFRelease(session);
  return status;
}

TEST(foreign_formats_are_refused_where_a_mac_refuses_them) {
  IOSurfaceRef unknown = NewSurface(0x58585858, 64, 48, true);
  EXPECT_EQ(IOSurfaceGetPixelFormat(unknown), 0x58585858);
  CVPixelBufferRef buffer = nullptr;
  EXPECT_EQ(CVPixelBufferCreateWithIOSurface(nullptr, unknown, nullptr, &buffer),
            kCVReturnInvalidPixelFormat);
  CFRelease(unknown);

  IOSurfaceRef deep = NewSurface(kCVPixelFormatType_64RGBAHalf, 64, 48, true);
  EXPECT_EQ(CVPixelBufferCreateWithIOSurface(nullptr, deep, nullptr, &buffer), kCVReturnSuccess);
  CVPixelBufferRef target = NewBuffer(kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange, 64, 48);
  EXPECT_EQ(Transfer(buffer, target), kVTPixelTransferNotSupportedErr);
  Session session;
  EXPECT_EQ(session.Encode(buffer, 0), kVTPixelTransferNotSupportedErr);
  CVPixelBufferRelease(buffer);
  CVPixelBufferRelease(target);
  CFRelease(deep);
}

static void ExpectSample(CVPixelBufferRef buffer, size_t plane, size_t byte, int expected) {
  CVPixelBufferLockBaseAddress(buffer, kCVPixelBufferLock_ReadOnly);
  const int value = static_cast<uint8_t *>(CVPixelBufferGetBaseAddressOfPlane(buffer, plane))[byte];
  CVPixelBufferUnlockBaseAddress(buffer, kCVPixelBufferLock_ReadOnly);
  EXPECT(std::abs(value - expected) <= 1);
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
  CVPixelBufferRef source = NewBuffer(kCVPixelFormatType_32BGRA, 64, 48);
  FillRed(source);
  CVPixelBufferRef target = NewBuffer(kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange, 32, 24);
  CVBufferSetAttachment(target, kCVImageBufferYCbCrMatrixKey, kCVImageBufferYCbCrMatrix_ITU_R_709_2,
                        kCVAttachmentMode_ShouldPropagate);
  EXPECT_EQ(Transfer(source, target), noErr);
  ExpectSample(target, 0, 0, 63);
  ExpectSample(target, 1, 0, 102);
  ExpectSample(target, 1, 1, 240);
  CVBufferSetAttachment(target, kCVImageBufferYCbCrMatrixKey, kCVImageBufferYCbCrMatrix_ITU_R_601_4,
                        kCVAttachmentMode_ShouldPropagate);
  EXPECT_EQ(Transfer(source, target), noErr);
  ExpectSample(target, 0, 0, 81);
  CVPixelBufferRef full = NewBuffer(kCVPixelFormatType_420YpCbCr8PlanarFullRange, 32, 24);
  EXPECT_EQ(Transfer(target, full), noErr);
  ExpectSample(full, 0, 0, 76);
  ExpectSample(full, 2, 0, 255);
  CVPixelBufferRelease(source);
  CVPixelBufferRelease(target);
  CVPixelBufferRelease(full);
}

VIOLATION(transfer_into_a_buffer_that_is_being_encoded, "the encoder may still read") {
  vt_shim_set_script("delay:*:100");
  Session session;
  CVPixelBufferRef buffer = session.NewPicture(0);
  session.Encode(buffer, 0);
  Transfer(NewBuffer(kCVPixelFormatType_32BGRA, 64, 48), buffer);
}

TEST(transfer_fails_as_scripted) {
  vt_shim_set_script("transfer:1:-12905");
  CVPixelBufferRef source = NewBuffer(kCVPixelFormatType_32BGRA, 64, 48);
  CVPixelBufferRef target = NewBuffer(kCVPixelFormatType_32BGRA, 64, 48);
  EXPECT_EQ(Transfer(source, target), kVTPixelTransferNotSupportedErr);
  EXPECT_EQ(Transfer(source, target), noErr);
  CVPixelBufferRelease(source);
  CVPixelBufferRelease(target);
}

TEST(pool_recycles_and_keeps_its_threshold) {
  vt_shim_set_script("pool:4:-6662");
  Session session;
  CVPixelBufferPoolRef pool = VTCompressionSessionGetPixelBufferPool(session.ref);
  CFMutableDictionaryRef aux = CFDictionaryCreateMutable(nullptr, 0, &kCFTypeDictionaryKeyCallBacks,
                                                         &kCFTypeDictionaryValueCallBacks);
  const int limit = 1;
  CFNumberRef number = CFNumberCreate(nullptr, kCFNumberIntType, &limit);
  CFDictionarySetValue(aux, kCVPixelBufferPoolAllocationThresholdKey, number);
  CVPixelBufferRef first = nullptr;
  CVPixelBufferRef second = nullptr;
  const auto create = [&](CVPixelBufferRef *buffer) {
    return CVPixelBufferPoolCreatePixelBufferWithAuxAttributes(nullptr, pool, aux, buffer);
  };
  EXPECT_EQ(create(&first), kCVReturnSuccess);
  EXPECT_EQ(create(&second), kCVReturnWouldExceedAllocationThreshold);
  const IOSurfaceID id = IOSurfaceGetID(CVPixelBufferGetIOSurface(first));
  CVPixelBufferRelease(first);
  EXPECT_EQ(create(&second), kCVReturnSuccess);
  EXPECT_EQ(IOSurfaceGetID(CVPixelBufferGetIOSurface(second)), id);
  CVPixelBufferRelease(second);
  EXPECT_EQ(create(&second), kCVReturnAllocationFailed);
  CVPixelBufferPoolFlush(pool, kCVPixelBufferPoolFlushExcessBuffers);
  EXPECT_EQ(vt_shim_live_objects("IOSurface"), 0);
  CFRelease(number);
  CFRelease(aux);
}

TEST(copied_attachments_belong_to_the_caller) {
  CVPixelBufferRef buffer = NewBuffer(kCVPixelFormatType_32BGRA, 64, 48);
  CFStringRef text = CFStringCreateWithCString(nullptr, "text", kCFStringEncodingUTF8);
  CVBufferSetAttachment(buffer, CFSTR("key"), text, kCVAttachmentMode_ShouldNotPropagate);
  EXPECT_EQ(CFGetRetainCount(text), 2);
  CFTypeRef copy = CVBufferCopyAttachment(buffer, CFSTR("key"), nullptr);
  EXPECT(copy == text);
  EXPECT_EQ(CFGetRetainCount(text), 3);
  CFRelease(copy);
  CVPixelBufferRelease(buffer);
  EXPECT_EQ(CFGetRetainCount(text), 1);
  CFRelease(text);
}

TEST(attachments_are_kept_and_counted) {
  Session session;
  CVPixelBufferRef buffer = session.NewPicture(0);
  CVBufferSetAttachment(buffer, kCVImageBufferColorPrimariesKey,
                        kCVImageBufferColorPrimaries_ITU_R_709_2,
                        kCVAttachmentMode_ShouldPropagate);
  CVBufferSetAttachment(buffer, kCVImageBufferTransferFunctionKey,
                        kCVImageBufferTransferFunction_ITU_R_709_2,
                        kCVAttachmentMode_ShouldPropagate);
  CVBufferSetAttachment(buffer, kCVImageBufferYCbCrMatrixKey, kCVImageBufferYCbCrMatrix_ITU_R_709_2,
                        kCVAttachmentMode_ShouldPropagate);
  CFTypeRef value = CVBufferCopyAttachment(buffer, kCVImageBufferYCbCrMatrixKey, nullptr);
  EXPECT(CFEqual(value, kCVImageBufferYCbCrMatrix_ITU_R_709_2));
  CFRelease(value);
  session.Encode(buffer, 0);
  CVPixelBufferRelease(buffer);
  EXPECT_EQ(session.Complete(), noErr);
  vt_shim_counters counters;
  vt_shim_get_counters(&counters);
  EXPECT_EQ(counters.untagged_frames, 0);
  EXPECT_EQ(counters.converted_frames, 0);
}
