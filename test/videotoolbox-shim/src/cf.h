// CoreFoundation's objects.
#pragma once

#include <CoreFoundation/CoreFoundation.h>

#include <string>
#include <string_view>
#include <vector>

#include "object.h"

struct __CFString final : vt_shim::ObjectOf<__CFString> {
  static constexpr char kType[] = "CFString";
  constexpr explicit __CFString(const char *literal)
      : ObjectOf(vt_shim::kImmortal), text(literal) {}
  explicit __CFString(std::string content) : owned(std::move(content)), text(owned.c_str()) {}
  std::string_view view() const { return text; }
  bool Equals(const Object &other) const override {
    return view() == static_cast<const __CFString &>(other).view();
  }
  std::string Describe() const override { return "CFString \"" + std::string(view()) + "\""; }

  const std::string owned;
  const char *const text;
};

struct __CFNumber final : vt_shim::ObjectOf<__CFNumber> {
  static constexpr char kType[] = "CFNumber";
  explicit __CFNumber(double value) : floating(true), real_value(value) {}
  explicit __CFNumber(int64_t value) : floating(false), integer_value(value) {}
  double real() const { return floating ? real_value : static_cast<double>(integer_value); }
  bool Equals(const Object &other) const override {
    const auto &number = static_cast<const __CFNumber &>(other);
    return floating || number.floating ? real() == number.real()
                                       : integer_value == number.integer_value;
  }
  std::string Describe() const override {
    return "CFNumber " + (floating ? std::to_string(real_value) : std::to_string(integer_value));
  }

  const bool floating;
  const double real_value = 0;
  const int64_t integer_value = 0;
};

struct __CFBoolean final : vt_shim::ObjectOf<__CFBoolean> {
  static constexpr char kType[] = "CFBoolean";
  constexpr explicit __CFBoolean(bool boolean) : ObjectOf(vt_shim::kImmortal), value(boolean) {}
  const bool value;
};

struct __CFDictionary final : vt_shim::ObjectOf<__CFDictionary> {
  static constexpr char kType[] = "CFDictionary";
  explicit __CFDictionary(bool can_change = false) : is_mutable(can_change) {}
  // A part of another object: not counted as one.
  explicit __CFDictionary(vt_shim::Immortal immortal) : ObjectOf(immortal), is_mutable(true) {}
  const vt_shim::Object *Find(CFTypeRef key) const;
  void Set(CFTypeRef key, CFTypeRef value);
  void Remove(CFTypeRef key);

  const bool is_mutable;
  std::vector<std::pair<vt_shim::AnyRef, vt_shim::AnyRef>> entries;
};

struct __CFArray final : vt_shim::ObjectOf<__CFArray> {
  static constexpr char kType[] = "CFArray";
  std::vector<vt_shim::AnyRef> values;
};

namespace vt_shim {

// The values that a dictionary, which may be NULL, has for a key.
bool IsTrue(CFDictionaryRef dictionary, CFStringRef key);
bool GetInteger(CFDictionaryRef dictionary, CFStringRef key, int64_t *value);

}  // namespace vt_shim
