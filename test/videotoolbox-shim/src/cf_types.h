// CoreFoundation's objects.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "object.h"

struct __CFString final : vt_shim::ObjectOf<__CFString> {
  // A constant.
  constexpr explicit __CFString(const char *literal);
  explicit __CFString(std::string_view content);
  std::string_view view() const { return text; }
  bool Equals(const Object &other) const override;
  size_t Hash() const override;
  std::string Describe() const override;
  void Finalize() override;

  const char *text;
};

struct __CFNumber final : vt_shim::ObjectOf<__CFNumber> {
  __CFNumber(CFNumberType number_type, double real_value);
  __CFNumber(CFNumberType number_type, int64_t integer_value);
  double real() const { return floating ? real_value : static_cast<double>(integer_value); }
  bool Equals(const Object &other) const override;
  size_t Hash() const override;
  std::string Describe() const override;

  CFNumberType number_type;
  bool floating;
  double real_value = 0;
  int64_t integer_value = 0;
};

struct __CFBoolean final : vt_shim::ObjectOf<__CFBoolean> {
  constexpr explicit __CFBoolean(bool boolean);
  std::string Describe() const override { return value ? "true" : "false"; }
  bool value;
};

struct __CFNull final : vt_shim::ObjectOf<__CFNull> {
  constexpr __CFNull();
};

struct __CFAllocator final : vt_shim::ObjectOf<__CFAllocator> {
  constexpr __CFAllocator();
};

struct __CFDictionary final : vt_shim::ObjectOf<__CFDictionary> {
  explicit __CFDictionary(bool is_mutable);
  const vt_shim::Object *Find(CFTypeRef key) const;
  void Set(CFTypeRef key, CFTypeRef value);
  void Remove(CFTypeRef key);
  bool Equals(const Object &other) const override;
  size_t Hash() const override { return entries.size(); }
  std::string Describe() const override;
  void Finalize() override { entries.clear(); }

  bool is_mutable;
  std::vector<std::pair<vt_shim::AnyRef, vt_shim::AnyRef>> entries;
};

struct __CFArray final : vt_shim::ObjectOf<__CFArray> {
  explicit __CFArray(bool is_mutable);
  bool Equals(const Object &other) const override;
  size_t Hash() const override { return values.size(); }
  std::string Describe() const override;
  void Finalize() override { values.clear(); }

  bool is_mutable;
  std::vector<vt_shim::AnyRef> values;
};

struct __CFData final : vt_shim::ObjectOf<__CFData> {
  explicit __CFData(std::vector<UInt8> content);
  bool Equals(const Object &other) const override;
  size_t Hash() const override { return bytes.size(); }
  std::string Describe() const override;
  void Finalize() override { bytes = {}; }

  std::vector<UInt8> bytes;
};

namespace vt_shim {

template <>
inline constexpr Type kTypeOf<__CFNull>{"CFNull", 1};
template <>
inline constexpr Type kTypeOf<__CFAllocator>{"CFAllocator", 2};
template <>
inline constexpr Type kTypeOf<__CFString>{"CFString", 3};
template <>
inline constexpr Type kTypeOf<__CFNumber>{"CFNumber", 4};
template <>
inline constexpr Type kTypeOf<__CFBoolean>{"CFBoolean", 5};
template <>
inline constexpr Type kTypeOf<__CFDictionary>{"CFDictionary", 6};
template <>
inline constexpr Type kTypeOf<__CFArray>{"CFArray", 7};
template <>
inline constexpr Type kTypeOf<__CFData>{"CFData", 8};

// New objects, owned by the caller.
CFStringRef NewString(std::string_view text);
CFNumberRef NewNumber(int64_t value);

// What a dictionary, which may be NULL, says about a key.
bool IsTrue(CFDictionaryRef dictionary, CFStringRef key);
bool GetInteger(CFDictionaryRef dictionary, CFStringRef key, int64_t *value);

}  // namespace vt_shim

constexpr __CFString::__CFString(const char *literal)
    : ObjectOf(vt_shim::kTypeOf<__CFString>), text(literal) {}
constexpr __CFBoolean::__CFBoolean(bool boolean)
    : ObjectOf(vt_shim::kTypeOf<__CFBoolean>), value(boolean) {}
constexpr __CFNull::__CFNull() : ObjectOf(vt_shim::kTypeOf<__CFNull>) {}
constexpr __CFAllocator::__CFAllocator() : ObjectOf(vt_shim::kTypeOf<__CFAllocator>) {}
