#include <algorithm>
#include <cstring>

#include "cf_types.h"
#include "violation.h"

using vt_shim::AnyRef;
using vt_shim::Check;
using vt_shim::kTypeOf;
using vt_shim::Lifetime;
using vt_shim::ToObject;
using vt_shim::Violation;

const CFDictionaryKeyCallBacks kCFTypeDictionaryKeyCallBacks = {0};
const CFDictionaryKeyCallBacks kCFCopyStringDictionaryKeyCallBacks = {0};
const CFDictionaryValueCallBacks kCFTypeDictionaryValueCallBacks = {0};
const CFArrayCallBacks kCFTypeArrayCallBacks = {0};

static AnyRef Share(CFTypeRef value, const char *where) {
  return AnyRef::Share(&vt_shim::CheckObject(value, nullptr, where));
}

static void CheckCallbacks(bool present, const char *where) {
  if (!present) {
    Violation(std::string(where) +
              ": without the kCFType callbacks nothing in it would be retained");
  }
}

static void CheckMutable(bool is_mutable, const char *where) {
  if (!is_mutable) {
    Violation(std::string(where) + ": the object is immutable");
  }
}

__CFDictionary::__CFDictionary(bool can_change)
    : ObjectOf(kTypeOf<__CFDictionary>, Lifetime::kCounted), is_mutable(can_change) {}

const vt_shim::Object *__CFDictionary::Find(CFTypeRef key) const {
  for (const auto &[candidate, value] : entries) {
    if (CFEqual(candidate.get(), key)) {
      return value.get();
    }
  }
  return nullptr;
}

void __CFDictionary::Set(CFTypeRef key, CFTypeRef value) {
  AnyRef owned = Share(value, "CFDictionarySetValue");
  for (auto &[candidate, current] : entries) {
    if (CFEqual(candidate.get(), key)) {
      current = owned;
      return;
    }
  }
  entries.emplace_back(Share(key, "CFDictionarySetValue"), owned);
}

void __CFDictionary::Remove(CFTypeRef key) {
  std::erase_if(entries, [key](const auto &entry) { return CFEqual(entry.first.get(), key); });
}

bool __CFDictionary::Equals(const Object &other) const {
  const auto &dictionary = static_cast<const __CFDictionary &>(other);
  return entries.size() == dictionary.entries.size() &&
         std::all_of(entries.begin(), entries.end(), [&](const auto &entry) {
           const auto *value = dictionary.Find(entry.first.get());
           return value != nullptr && CFEqual(value, entry.second.get());
         });
}

std::string __CFDictionary::Describe() const {
  std::string text = "CFDictionary {";
  for (const auto &[key, value] : entries) {
    text += " " + key->Describe() + ": " + value->Describe() + ";";
  }
  return text + " }";
}

__CFArray::__CFArray(bool can_change)
    : ObjectOf(kTypeOf<__CFArray>, Lifetime::kCounted), is_mutable(can_change) {}

bool __CFArray::Equals(const Object &other) const {
  const auto &array = static_cast<const __CFArray &>(other);
  return std::equal(
      values.begin(), values.end(), array.values.begin(), array.values.end(),
      [](const AnyRef &one, const AnyRef &two) { return CFEqual(one.get(), two.get()); });
}

std::string __CFArray::Describe() const {
  std::string text = "CFArray [";
  for (const auto &value : values) {
    text += " " + value->Describe() + ",";
  }
  return text + " ]";
}

__CFData::__CFData(std::vector<UInt8> content)
    : ObjectOf(kTypeOf<__CFData>, Lifetime::kCounted), bytes(std::move(content)) {}
bool __CFData::Equals(const Object &other) const {
  return bytes == static_cast<const __CFData &>(other).bytes;
}
std::string __CFData::Describe() const {
  return "CFData of " + std::to_string(bytes.size()) + " bytes";
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

CFTypeID CFDictionaryGetTypeID(void) {
  return kTypeOf<__CFDictionary>.id;
}

CFDictionaryRef CFDictionaryCreate(CFAllocatorRef, const void **keys, const void **values,
                                   CFIndex count, const CFDictionaryKeyCallBacks *key_callbacks,
                                   const CFDictionaryValueCallBacks *value_callbacks) {
  CheckCallbacks(key_callbacks != nullptr && value_callbacks != nullptr, "CFDictionaryCreate");
  auto *dictionary = new __CFDictionary(false);
  for (CFIndex index = 0; index < count; ++index) {
    dictionary->Set(keys[index], values[index]);
  }
  return dictionary;
}

static CFMutableDictionaryRef Copy(CFDictionaryRef source, bool is_mutable) {
  auto *dictionary = new __CFDictionary(is_mutable);
  dictionary->entries = source->entries;
  return dictionary;
}

CFDictionaryRef CFDictionaryCreateCopy(CFAllocatorRef, CFDictionaryRef dictionary) {
  return Copy(&Check(dictionary, "CFDictionaryCreateCopy"), false);
}

CFMutableDictionaryRef CFDictionaryCreateMutable(
    CFAllocatorRef, CFIndex, const CFDictionaryKeyCallBacks *key_callbacks,
    const CFDictionaryValueCallBacks *value_callbacks) {
  CheckCallbacks(key_callbacks != nullptr && value_callbacks != nullptr,
                 "CFDictionaryCreateMutable");
  return new __CFDictionary(true);
}

CFMutableDictionaryRef CFDictionaryCreateMutableCopy(CFAllocatorRef, CFIndex,
                                                     CFDictionaryRef dictionary) {
  return Copy(&Check(dictionary, "CFDictionaryCreateMutableCopy"), true);
}

CFIndex CFDictionaryGetCount(CFDictionaryRef dictionary) {
  return static_cast<CFIndex>(Check(dictionary, "CFDictionaryGetCount").entries.size());
}

Boolean CFDictionaryContainsKey(CFDictionaryRef dictionary, const void *key) {
  return Check(dictionary, "CFDictionaryContainsKey").Find(key) != nullptr;
}

const void *CFDictionaryGetValue(CFDictionaryRef dictionary, const void *key) {
  return Check(dictionary, "CFDictionaryGetValue").Find(key);
}

Boolean CFDictionaryGetValueIfPresent(CFDictionaryRef dictionary, const void *key,
                                      const void **value) {
  const auto *found = Check(dictionary, "CFDictionaryGetValueIfPresent").Find(key);
  if (found != nullptr && value != nullptr) {
    *value = found;
  }
  return found != nullptr;
}

void CFDictionaryGetKeysAndValues(CFDictionaryRef dictionary, const void **keys,
                                  const void **values) {
  size_t index = 0;
  for (const auto &[key, value] : Check(dictionary, "CFDictionaryGetKeysAndValues").entries) {
    if (keys != nullptr) {
      keys[index] = key.get();
    }
    if (values != nullptr) {
      values[index] = value.get();
    }
    ++index;
  }
}

void CFDictionaryApplyFunction(CFDictionaryRef dictionary, CFDictionaryApplierFunction applier,
                               void *context) {
  for (const auto &[key, value] : Check(dictionary, "CFDictionaryApplyFunction").entries) {
    applier(key.get(), value.get(), context);
  }
}

void CFDictionaryAddValue(CFMutableDictionaryRef dictionary, const void *key, const void *value) {
  auto &object = Check(dictionary, "CFDictionaryAddValue");
  CheckMutable(object.is_mutable, "CFDictionaryAddValue");
  if (object.Find(key) == nullptr) {
    object.Set(key, value);
  }
}

void CFDictionarySetValue(CFMutableDictionaryRef dictionary, const void *key, const void *value) {
  auto &object = Check(dictionary, "CFDictionarySetValue");
  CheckMutable(object.is_mutable, "CFDictionarySetValue");
  object.Set(key, value);
}

void CFDictionaryRemoveValue(CFMutableDictionaryRef dictionary, const void *key) {
  auto &object = Check(dictionary, "CFDictionaryRemoveValue");
  CheckMutable(object.is_mutable, "CFDictionaryRemoveValue");
  object.Remove(key);
}

void CFDictionaryRemoveAllValues(CFMutableDictionaryRef dictionary) {
  auto &object = Check(dictionary, "CFDictionaryRemoveAllValues");
  CheckMutable(object.is_mutable, "CFDictionaryRemoveAllValues");
  object.entries.clear();
}

CFTypeID CFArrayGetTypeID(void) {
  return kTypeOf<__CFArray>.id;
}

CFArrayRef CFArrayCreate(CFAllocatorRef, const void **values, CFIndex count,
                         const CFArrayCallBacks *callbacks) {
  CheckCallbacks(callbacks != nullptr, "CFArrayCreate");
  auto *array = new __CFArray(false);
  for (CFIndex index = 0; index < count; ++index) {
    array->values.push_back(Share(values[index], "CFArrayCreate"));
  }
  return array;
}

CFMutableArrayRef CFArrayCreateMutable(CFAllocatorRef, CFIndex, const CFArrayCallBacks *callbacks) {
  CheckCallbacks(callbacks != nullptr, "CFArrayCreateMutable");
  return new __CFArray(true);
}

CFIndex CFArrayGetCount(CFArrayRef array) {
  return static_cast<CFIndex>(Check(array, "CFArrayGetCount").values.size());
}

const void *CFArrayGetValueAtIndex(CFArrayRef array, CFIndex index) {
  const auto &values = Check(array, "CFArrayGetValueAtIndex").values;
  if (index < 0 || static_cast<size_t>(index) >= values.size()) {
    Violation("CFArrayGetValueAtIndex: index " + std::to_string(index) + " of an array of " +
              std::to_string(values.size()));
  }
  return values[static_cast<size_t>(index)].get();
}

void CFArrayAppendValue(CFMutableArrayRef array, const void *value) {
  auto &object = Check(array, "CFArrayAppendValue");
  CheckMutable(object.is_mutable, "CFArrayAppendValue");
  object.values.push_back(Share(value, "CFArrayAppendValue"));
}

CFTypeID CFDataGetTypeID(void) {
  return kTypeOf<__CFData>.id;
}
CFDataRef CFDataCreate(CFAllocatorRef, const UInt8 *bytes, CFIndex length) {
  return new __CFData(std::vector<UInt8>(bytes, bytes + length));
}
CFIndex CFDataGetLength(CFDataRef data) {
  return static_cast<CFIndex>(Check(data, "CFDataGetLength").bytes.size());
}
const UInt8 *CFDataGetBytePtr(CFDataRef data) {
  return Check(data, "CFDataGetBytePtr").bytes.data();
}
void CFDataGetBytes(CFDataRef data, CFRange range, UInt8 *buffer) {
  const auto &bytes = Check(data, "CFDataGetBytes").bytes;
  if (range.location < 0 || range.length < 0 ||
      static_cast<size_t>(range.location + range.length) > bytes.size()) {
    Violation("CFDataGetBytes: the range is outside the data");
  }
  memcpy(buffer, bytes.data() + range.location, static_cast<size_t>(range.length));
}
