#pragma once

#include <CoreFoundation/CoreFoundation.h>

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace vsockenc::vt {

// Owner of one reference to an object of CoreFoundation, or of a library built on it (a CVBuffer, a
// CMSampleBuffer, a VTSession and an IOSurface are such objects too).
template <typename T>
class CfRef {
 public:
  CfRef() = default;
  // Takes over the reference that a function with Create or Copy in its name returned (the
  // "create rule").
  static CfRef Adopt(T object) { return CfRef(object); }
  // Adds a reference to an object that belongs to another owner (the "get rule").
  static CfRef Retain(T object) {
    if (object != nullptr) CFRetain(object);
    return CfRef(object);
  }
  CfRef(const CfRef &other) : CfRef(Retain(other.object_)) {}
  CfRef(CfRef &&other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  CfRef &operator=(CfRef other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~CfRef() { Release(); }

  T get() const { return object_; }
  explicit operator bool() const { return object_ != nullptr; }
  // For an output parameter that passes a reference to the caller.
  T *Out() {
    Release();
    return &object_;
  }

 private:
  explicit CfRef(T object) : object_(object) {}
  void Release() {
    // Unlike free(), CFRelease does not take NULL.
    if (object_ != nullptr) CFRelease(std::exchange(object_, nullptr));
  }

  T object_ = nullptr;
};

// A CFNumber of the value's own type. CFNumberCreate reads its argument as any type it is given, so
// nothing else in this program calls it.
template <typename T>
concept CfNumeric = std::same_as<T, int32_t> || std::same_as<T, int64_t> || std::same_as<T, double>;

template <CfNumeric T>
CfRef<CFNumberRef> Number(T value) {
  constexpr CFNumberType kType = std::same_as<T, int32_t>   ? kCFNumberSInt32Type
                                 : std::same_as<T, int64_t> ? kCFNumberSInt64Type
                                                            : kCFNumberFloat64Type;
  return CfRef<CFNumberRef>::Adopt(CFNumberCreate(kCFAllocatorDefault, kType, &value));
}

inline CFBooleanRef Bool(bool value) {
  return value ? kCFBooleanTrue : kCFBooleanFalse;
}

// The values are retained, so temporaries are allowed. Entries of NULL are left out.
inline CfRef<CFDictionaryRef> Dictionary(
    std::initializer_list<std::pair<CFStringRef, CFTypeRef>> entries) {
  std::vector<const void *> keys;
  std::vector<const void *> values;
  for (const auto &[key, value] : entries) {
    if (value == nullptr) continue;
    keys.push_back(key);
    values.push_back(value);
  }
  return CfRef<CFDictionaryRef>::Adopt(CFDictionaryCreate(
      kCFAllocatorDefault, keys.data(), values.data(), static_cast<CFIndex>(keys.size()),
      &kCFTypeDictionaryKeyCallBacks, &kCFTypeDictionaryValueCallBacks));
}

inline CfRef<CFArrayRef> Array(std::initializer_list<CFTypeRef> values) {
  std::vector<const void *> items(values.begin(), values.end());
  return CfRef<CFArrayRef>::Adopt(CFArrayCreate(kCFAllocatorDefault, items.data(),
                                                static_cast<CFIndex>(items.size()),
                                                &kCFTypeArrayCallBacks));
}

// In UTF-8; empty for any other type.
inline std::string Text(CFTypeRef object) {
  if (object == nullptr || CFGetTypeID(object) != CFStringGetTypeID()) return {};
  const auto string = static_cast<CFStringRef>(object);
  const CFIndex most =
      CFStringGetMaximumSizeForEncoding(CFStringGetLength(string), kCFStringEncodingUTF8) + 1;
  std::vector<char> text(static_cast<size_t>(most));
  if (!CFStringGetCString(string, text.data(), most, kCFStringEncodingUTF8)) return {};
  return text.data();
}

}  // namespace vsockenc::vt
