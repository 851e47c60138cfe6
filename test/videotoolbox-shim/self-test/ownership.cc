// Behaviours 13 and 16: retain counts, and numbers of the wrong type.
#include <dlfcn.h>

#include <cstdlib>

#include "fixture.h"

namespace self_test {

static_assert(sizeof(CMTime) == 24 && alignof(CMTime) == 4, "as Apple packs it");
static_assert(std::is_enum_v<CFNumberType> && sizeof(CFNumberType) == sizeof(CFIndex));

TEST(leaks_are_counted_by_type) {
  auto buffer = NewBuffer(kCVPixelFormatType_32BGRA);
  const auto number = Number(int32_t{5});
  EXPECT_EQ(vt_shim_live_objects(nullptr), 2);
  EXPECT_EQ(vt_shim_live_objects("CVPixelBuffer"), 1);
  buffer = {};
  EXPECT_EQ(vt_shim_check_leaks(), 1);
}

TEST(containers_retain) {
  auto number = Number(int32_t{5});
  const auto dictionary = Dictionary({{CFSTR("key"), number.get()}});
  EXPECT_EQ(CFGetRetainCount(number.get()), 2);
  number = {};
  EXPECT(CFEqual(CFDictionaryGetValue(dictionary.get(), CFSTR("key")), Number(5.0).get()));
}

TEST(the_encoder_retains_its_input) {
  vt_shim_set_script("delay:*:100");
  Session session;
  auto buffer = session.NewPicture(0);
  session.Encode(buffer.get(), 0);
  EXPECT_EQ(CFGetRetainCount(buffer.get()), 2);
  buffer = {};
  EXPECT_EQ(session.Complete(), noErr);
  EXPECT_EQ(vt_shim_live_objects("CVPixelBuffer"), 0);
}

VIOLATION(over_release, "over-release") {
  const auto number = Number(int32_t{5});
  CFRelease(number.get());
}

VIOLATION(use_after_the_last_release, "is used after its last release") {
  const auto buffer = NewBuffer(kCVPixelFormatType_32BGRA);
  CFRelease(buffer.get());
  CVPixelBufferGetWidth(buffer.get());
}

VIOLATION(leak_at_exit, "objects were never released") {
  setenv("VT_SHIM_LEAKS", "abort", 1);
  CFRetain(NewBuffer(kCVPixelFormatType_32BGRA).get());
}

VIOLATION(last_release_in_the_callback, "goes in its own callback") {
  Session session;
  session.in_callback = [&] { CFRelease(session.get()); };
  session.Encode(0);
  WaitForTheEnd();
}

VIOLATION(released_while_locked, "while the pixel buffer is locked") {
  CVPixelBufferLockBaseAddress(NewBuffer(kCVPixelFormatType_32BGRA).get(), 0);
}

VIOLATION(object_of_another_type, "where a CFString belongs") {
  CFStringGetLength(reinterpret_cast<CFStringRef>(kCFBooleanTrue));
}

VIOLATION(mutated_immutable_dictionary, "the dictionary is immutable") {
  const auto dictionary = Dictionary({});
  CFDictionarySetValue(const_cast<CFMutableDictionaryRef>(dictionary.get()), CFSTR("key"),
                       kCFBooleanTrue);
}

VIOLATION(double_as_an_integer_type, "type confusion") {
  const double rate = 60;
  CFNumberCreate(nullptr, kCFNumberIntType, &rate);
}

VIOLATION(number_read_into_a_smaller_variable, "type confusion") {
  int small = 0;
  CFNumberGetValue(Number(int64_t{5}).get(), kCFNumberSInt64Type, &small);
}

VIOLATION(bits_of_a_double_as_a_property, "is not plausible") {
  Session session;
  const double rate = 60;
  VTSessionSetProperty(session.get(), kVTCompressionPropertyKey_ExpectedFrameRate,
                       CFNumberCreate(nullptr, kCFNumberIntType, static_cast<const void *>(&rate)));
}

VIOLATION(floating_point_where_an_integer_belongs, "type confusion") {
  Session session;
  session.Set(kVTCompressionPropertyKey_MaxKeyFrameInterval, Number(300.0).get());
}

VIOLATION(property_of_another_kind, "is of the wrong kind") {
  Session session;
  session.Set(kVTCompressionPropertyKey_RealTime, CFSTR("true"));
}

TEST(numbers_keep_their_values) {
  const float real = 29.5F;
  const auto number =
      CfRef<CFNumberRef>::Adopt(CFNumberCreate(nullptr, kCFNumberFloat32Type, &real));
  double wide = 0;
  int narrow = 0;
  EXPECT(CFNumberGetValue(number.get(), kCFNumberDoubleType, &wide) && wide == 29.5);
  EXPECT(!CFNumberGetValue(number.get(), kCFNumberIntType, &narrow));
  EXPECT_EQ(narrow, 29);
}

TEST(strings_compare_by_value) {
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
}

}  // namespace self_test
