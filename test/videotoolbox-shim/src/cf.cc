#include "cf.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <mutex>

using namespace vt_shim;

const CFAllocatorRef kCFAllocatorDefault = nullptr;
const CFArrayCallBacks kCFTypeArrayCallBacks = {0};
const CFDictionaryKeyCallBacks kCFTypeDictionaryKeyCallBacks = {0};
const CFDictionaryValueCallBacks kCFTypeDictionaryValueCallBacks = {0};

static constinit const Constant<__CFBoolean> kTrue{true};
static constinit const Constant<__CFBoolean> kFalse{false};
const CFBooleanRef kCFBooleanTrue = &kTrue.object;
const CFBooleanRef kCFBooleanFalse = &kFalse.object;

// --- arrays and dictionaries

static AnyRef Share(CFTypeRef value, const char *where) {
  return AnyRef::Share(&vt_shim::CheckObject(value, nullptr, where));
}

static void CheckCallbacks(bool present, const char *where = __builtin_FUNCTION()) {
  if (!present) {
    Violation(std::string(where) +
              ": without the kCFType callbacks nothing in it would be retained");
  }
}

const vt_shim::Object *__CFDictionary::Find(CFTypeRef key) const {
  for (const auto &[candidate, value] : entries) {
    if (CFEqual(candidate.get(), key)) return value.get();
  }
  return nullptr;
}

void __CFDictionary::Set(CFTypeRef key, CFTypeRef value) {
  AnyRef owned = Share(value, "CFDictionarySetValue");
  Remove(key);
  entries.emplace_back(Share(key, "CFDictionarySetValue"), std::move(owned));
}

void __CFDictionary::Remove(CFTypeRef key) {
  std::erase_if(entries, [key](const auto &entry) { return CFEqual(entry.first.get(), key); });
}

namespace vt_shim {

bool IsTrue(CFDictionaryRef dictionary, CFStringRef key) {
  const auto *value = dictionary == nullptr ? nullptr : As<__CFBoolean>(dictionary->Find(key));
  return value != nullptr && value->value;
}

bool GetInteger(CFDictionaryRef dictionary, CFStringRef key, int64_t *value) {
  const auto *number = dictionary == nullptr ? nullptr : As<__CFNumber>(dictionary->Find(key));
  return number != nullptr && CFNumberGetValue(number, kCFNumberSInt64Type, value);
}

}  // namespace vt_shim

CFDictionaryRef CFDictionaryCreate(CFAllocatorRef, const void **keys, const void **values,
                                   CFIndex count, const CFDictionaryKeyCallBacks *key_callbacks,
                                   const CFDictionaryValueCallBacks *value_callbacks) {
  CheckCallbacks(key_callbacks != nullptr && value_callbacks != nullptr);
  auto *dictionary = new __CFDictionary;
  for (CFIndex index = 0; index < count; ++index) dictionary->Set(keys[index], values[index]);
  return dictionary;
}

CFMutableDictionaryRef CFDictionaryCreateMutable(
    CFAllocatorRef, CFIndex, const CFDictionaryKeyCallBacks *key_callbacks,
    const CFDictionaryValueCallBacks *value_callbacks) {
  CheckCallbacks(key_callbacks != nullptr && value_callbacks != nullptr);
  return new __CFDictionary(true);
}

const void *CFDictionaryGetValue(CFDictionaryRef dictionary, const void *key) {
  return Check(dictionary).Find(key);
}

void CFDictionarySetValue(CFMutableDictionaryRef dictionary, const void *key, const void *value) {
  if (!Check(dictionary).is_mutable) Violation("CFDictionarySetValue: the dictionary is immutable");
  dictionary->Set(key, value);
}

CFArrayRef CFArrayCreate(CFAllocatorRef, const void **values, CFIndex count,
                         const CFArrayCallBacks *callbacks) {
  CheckCallbacks(callbacks != nullptr);
  auto *array = new __CFArray;
  for (CFIndex index = 0; index < count; ++index) {
    array->values.push_back(Share(values[index], "CFArrayCreate"));
  }
  return array;
}

CFIndex CFArrayGetCount(CFArrayRef array) {
  return static_cast<CFIndex>(Check(array).values.size());
}

const void *CFArrayGetValueAtIndex(CFArrayRef array, CFIndex index) {
  const auto &values = Check(array).values;
  if (index < 0 || static_cast<size_t>(index) >= values.size()) {
    Violation("CFArrayGetValueAtIndex: index " + std::to_string(index) + " of an array of " +
              std::to_string(values.size()));
  }
  return values[static_cast<size_t>(index)].get();
}

// --- strings

CFStringRef __CFStringMakeConstantString(const char *literal) {
  static auto *mutex = new std::mutex;
  static auto *strings = new std::map<std::string, const Constant<__CFString> *, std::less<>>;
  std::lock_guard lock(*mutex);
  auto found = strings->find(std::string_view(literal));
  if (found == strings->end()) {
    found = strings->emplace(literal, nullptr).first;
    found->second = new Constant<__CFString>(found->first.c_str());
  }
  return &found->second->object;
}

CFTypeID CFStringGetTypeID(void) {
  return TypeIdOf<__CFString>();
}
CFIndex CFStringGetLength(CFStringRef string) {
  return static_cast<CFIndex>(Check(string).view().size());
}
CFIndex CFStringGetMaximumSizeForEncoding(CFIndex length, CFStringEncoding) {
  return 3 * length;
}

Boolean CFStringGetCString(CFStringRef string, char *buffer, CFIndex size,
                           CFStringEncoding encoding) {
  const std::string_view text = Check(string).view();
  if (encoding != kCFStringEncodingUTF8) {
    Violation("CFStringGetCString: the shim knows UTF-8 alone");
  }
  if (size < 0 || text.size() >= static_cast<size_t>(size)) return false;
  memcpy(buffer, text.data(), text.size());
  buffer[text.size()] = '\0';
  return true;
}

// --- booleans and numbers

CFTypeID CFBooleanGetTypeID(void) {
  return TypeIdOf<__CFBoolean>();
}
Boolean CFBooleanGetValue(CFBooleanRef boolean) {
  return Check(boolean).value;
}

namespace {

struct Representation {
  size_t size;
  bool floating;
};
// By CFNumberType, on a 64-bit Mac, where long and CGFloat have eight bytes.
constexpr Representation kRepresentations[] = {
    {0, false}, {1, false}, {2, false}, {4, false}, {8, false}, {4, true},
    {8, true},  {1, false}, {2, false}, {4, false}, {8, false}, {8, false},
    {4, true},  {8, true},  {8, false}, {8, false}, {8, true},
};

Representation RepresentationOf(CFNumberType type, const char *where = __builtin_FUNCTION()) {
  if (type < kCFNumberSInt8Type || type > kCFNumberMaxType) {
    Violation(std::string(where) + ": " + std::to_string(type) + " is not a CFNumberType");
  }
  return kRepresentations[type];
}

// Calls `action` with a value of the C type that a CFNumberType stands for.
template <typename Action>
auto WithType(Representation representation, Action action) {
  if (representation.floating) return representation.size == 4 ? action(float{}) : action(double{});
  switch (representation.size) {
    case 1:
      return action(int8_t{});
    case 2:
      return action(int16_t{});
    case 4:
      return action(int32_t{});
    default:
      return action(int64_t{});
  }
}

template <typename T>
bool Store(const __CFNumber &number, void *bytes) {
  T value;
  bool exact;
  if constexpr (std::is_floating_point_v<T>) {
    value = static_cast<T>(number.real());
    exact = static_cast<double>(value) == number.real() &&
            (number.floating || static_cast<int64_t>(number.real()) == number.integer_value);
  } else {
    const double low = static_cast<double>(std::numeric_limits<T>::min());
    const double high = -low;  // one more than the greatest
    const double real = number.real();
    const bool fits = real >= low && real < high;
    value = number.floating ? (fits ? static_cast<T>(real) : T{0})
                            : static_cast<T>(number.integer_value);
    exact = number.floating ? fits && static_cast<double>(value) == real
                            : static_cast<int64_t>(value) == number.integer_value;
  }
  memcpy(bytes, &value, sizeof value);
  return exact;
}

std::string Bytes(size_t size, bool floating) {
  return std::to_string(size) + (floating ? " bytes of floating point" : " bytes of integer");
}

}  // namespace

void vt_shim_check_number_type(const char *function, CFNumberType type, size_t size,
                               Boolean floating) {
  const Representation expected = RepresentationOf(type, function);
  if (expected.size != size || expected.floating != static_cast<bool>(floating)) {
    Violation(std::string(function) + ": type confusion: CFNumberType " + std::to_string(type) +
              " is " + Bytes(expected.size, expected.floating) + ", the variable is " +
              Bytes(size, floating));
  }
}

CFTypeID CFNumberGetTypeID(void) {
  return TypeIdOf<__CFNumber>();
}

CFNumberRef CFNumberCreate(CFAllocatorRef, CFNumberType type, const void *bytes) {
  return WithType(RepresentationOf(type), [bytes](auto value) -> CFNumberRef {
    memcpy(&value, bytes, sizeof value);
    if constexpr (std::is_floating_point_v<decltype(value)>) {
      return new __CFNumber(double{value});
    } else {
      return new __CFNumber(int64_t{value});
    }
  });
}

Boolean CFNumberGetValue(CFNumberRef number, CFNumberType type, void *bytes) {
  const auto &object = Check(number);
  return WithType(RepresentationOf(type),
                  [&](auto value) { return Store<decltype(value)>(object, bytes); });
}
