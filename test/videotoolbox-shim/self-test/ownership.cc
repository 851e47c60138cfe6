// Behaviours 13 and 16: retain counts, and numbers of the wrong type.
#include <dlfcn.h>

#include <cstring>

#include "fixture.h"
#include "harness.h"
#include "vt_shim.h"

using self_test::Session;
using self_test::Set;

TEST(leaks_are_counted_by_type) {
  CVPixelBufferRef buffer = self_test::NewBuffer(kCVPixelFormatType_32BGRA, 16, 16);
  CFStringRef text = CFStringCreateWithCString(nullptr, "text", kCFStringEncodingUTF8);
  EXPECT_EQ(vt_shim_live_objects(nullptr), 2);
  EXPECT_EQ(vt_shim_live_objects("CVPixelBuffer"), 1);
  CVPixelBufferRelease(buffer);
  EXPECT_EQ(vt_shim_check_leaks(), 1);
  CFRelease(text);
}

TEST(containers_retain) {
  CFMutableDictionaryRef dictionary = CFDictionaryCreateMutable(
      nullptr, 0, &kCFTypeDictionaryKeyCallBacks, &kCFTypeDictionaryValueCallBacks);
  CFStringRef text = CFStringCreateWithCString(nullptr, "text", kCFStringEncodingUTF8);
  CFDictionarySetValue(dictionary, CFSTR("key"), text);
  EXPECT_EQ(CFGetRetainCount(text), 2);
  CFRelease(text);
  EXPECT(CFEqual(CFDictionaryGetValue(dictionary, CFSTR("key")), CFSTR("text")));
  CFRelease(dictionary);
}

TEST(the_encoder_retains_its_input) {
  vt_shim_set_script("delay:*:100");
  Session session;
  CVPixelBufferRef buffer = session.NewPicture(0);
  session.Encode(buffer, 0);
  EXPECT_EQ(CFGetRetainCount(buffer), 2);
  CVPixelBufferRelease(buffer);
  EXPECT_EQ(session.Complete(), noErr);
  EXPECT_EQ(vt_shim_live_objects("CVPixelBuffer"), 0);
}

VIOLATION(over_release, "over-release") {
  CFStringRef text = CFStringCreateWithCString(nullptr, "text", kCFStringEncodingUTF8);
  CFRelease(text);
  CFRelease(text);
}

VIOLATION(use_after_the_last_release, "is used after its last release") {
  CVPixelBufferRef buffer = self_test::NewBuffer(kCVPixelFormatType_32BGRA, 16, 16);
  CVPixelBufferRelease(buffer);
  CVPixelBufferGetWidth(buffer);
}

VIOLATION(leak_at_exit, "objects were never released") {
  setenv("VT_SHIM_LEAKS", "abort", 1);
  self_test::NewBuffer(kCVPixelFormatType_32BGRA, 16, 16);
}

VIOLATION(last_release_in_the_callback, "goes in its own callback") {
  Session session;
  session.in_callback = [&] { CFRelease(session.ref); };
  session.Encode(0);
  self_test::SleepMs(5000);
}

VIOLATION(released_while_locked, "while the buffer is locked") {
  CVPixelBufferRef buffer = self_test::NewBuffer(kCVPixelFormatType_32BGRA, 16, 16);
  CVPixelBufferLockBaseAddress(buffer, 0);
  CVPixelBufferRelease(buffer);
}

VIOLATION(object_of_another_type, "where a CFString belongs") {
  CFStringGetLength(reinterpret_cast<CFStringRef>(kCFBooleanTrue));
}

VIOLATION(double_as_an_integer_type, "type confusion") {
  const double rate = 60;
  CFNumberCreate(nullptr, kCFNumberIntType, &rate);
}

VIOLATION(number_read_into_a_smaller_variable, "type confusion") {
  const int64_t value = 5;
  CFNumberRef number = CFNumberCreate(nullptr, kCFNumberSInt64Type, &value);
  int small = 0;
  CFNumberGetValue(number, kCFNumberSInt64Type, &small);
}

VIOLATION(bits_of_a_double_as_a_property, "is not plausible") {
  Session session;
  const double rate = 60;
  CFNumberRef number = CFNumberCreate(nullptr, kCFNumberIntType, static_cast<const void *>(&rate));
  VTSessionSetProperty(session.ref, kVTCompressionPropertyKey_ExpectedFrameRate, number);
}

VIOLATION(floating_point_where_an_integer_belongs, "type confusion") {
  Session session;
  const double interval = 300;
  CFNumberRef number = CFNumberCreate(nullptr, kCFNumberDoubleType, &interval);
  VTSessionSetProperty(session.ref, kVTCompressionPropertyKey_MaxKeyFrameInterval, number);
}

VIOLATION(property_of_another_kind, "is of the wrong kind") {
  Session session;
  VTSessionSetProperty(session.ref, kVTCompressionPropertyKey_RealTime, CFSTR("true"));
}

TEST(numbers_keep_their_values) {
  const float real = 29.5F;
  CFNumberRef number = CFNumberCreate(nullptr, kCFNumberFloat32Type, &real);
  double wide = 0;
  int narrow = 0;
  EXPECT(CFNumberGetValue(number, kCFNumberDoubleType, &wide) && wide == 29.5);
  EXPECT(!CFNumberGetValue(number, kCFNumberIntType, &narrow));
  EXPECT_EQ(narrow, 29);
  EXPECT(CFNumberIsFloatType(number));
  CFRelease(number);
}

TEST(strings_do_not_give_pointers) {
  EXPECT(CFStringGetCStringPtr(kVTCompressionPropertyKey_RealTime, kCFStringEncodingUTF8) ==
         nullptr);
  EXPECT(CFSTR("RealTime") == CFSTR("RealTime"));
  EXPECT(CFEqual(kVTCompressionPropertyKey_RealTime, CFSTR("RealTime")));
  char small[4];
  EXPECT(!CFStringGetCString(CFSTR("four"), small, sizeof small, kCFStringEncodingUTF8));
}

TEST(dlsym_finds_a_constant) {
  const auto *symbol = static_cast<const CFStringRef *>(
      dlsym(RTLD_DEFAULT, "kVTCompressionPropertyKey_PrioritizeEncodingSpeedOverQuality"));
  EXPECT(symbol != nullptr && CFEqual(*symbol, CFSTR("PrioritizeEncodingSpeedOverQuality")));
  EXPECT(dlsym(RTLD_DEFAULT, "kVTCompressionPropertyKey_OfTomorrow") == nullptr);
}

TEST(times_compare_across_scales) {
  EXPECT_EQ(CMTimeCompare(CMTimeMake(1, 30), CMTimeMake(2, 60)), 0);
  EXPECT_EQ(CMTimeCompare(CMTimeMake(1, 30), CMTimeMake(34, 1000)), -1);
  EXPECT_EQ(CMTimeCompare(kCMTimeInvalid, kCMTimeZero), -1);
  EXPECT_EQ(CMTimeSubtract(CMTimeMake(5, 30), CMTimeMake(2, 30)).value, 3);
  EXPECT(!CMTIME_IS_NUMERIC(kCMTimeIndefinite) && CMTIME_IS_VALID(kCMTimeIndefinite));
}
