#include <strings.h>

#include <cstring>
#include <functional>
#include <map>
#include <mutex>

#include "cf_types.h"
#include "violation.h"

using vt_shim::Check;
using vt_shim::kTypeOf;
using vt_shim::Lifetime;

__CFString::__CFString(std::string_view content)
    : ObjectOf(kTypeOf<__CFString>, Lifetime::kCounted),
      text(strndup(content.data(), content.size())) {}

void __CFString::Finalize() {
  free(const_cast<char *>(text));
  text = "";
}

bool __CFString::Equals(const Object &other) const {
  return view() == static_cast<const __CFString &>(other).view();
}
size_t __CFString::Hash() const {
  return std::hash<std::string_view>()(view());
}
std::string __CFString::Describe() const {
  return "CFString \"" + std::string(view()) + "\"";
}

namespace vt_shim {

CFStringRef NewString(std::string_view text) {
  return new __CFString(text);
}

}  // namespace vt_shim

CFStringRef __CFStringMakeConstantString(const char *literal) {
  static auto *mutex = new std::mutex;
  static auto *strings = new std::map<std::string, __CFString *, std::less<>>;
  std::lock_guard lock(*mutex);
  auto found = strings->find(std::string_view(literal));
  if (found == strings->end()) {
    found = strings->emplace(literal, nullptr).first;
    found->second = new __CFString(found->first.c_str());
  }
  return found->second;
}

static void CheckEncoding(CFStringEncoding encoding, const char *where) {
  if (encoding != kCFStringEncodingUTF8 && encoding != kCFStringEncodingASCII &&
      encoding != kCFStringEncodingISOLatin1) {
    vt_shim::Violation(std::string(where) + ": not an encoding that the shim knows");
  }
}

CFTypeID CFStringGetTypeID(void) {
  return kTypeOf<__CFString>.id;
}

CFStringRef CFStringCreateWithCString(CFAllocatorRef, const char *text, CFStringEncoding encoding) {
  CheckEncoding(encoding, "CFStringCreateWithCString");
  return vt_shim::NewString(text);
}

CFStringRef CFStringCreateWithBytes(CFAllocatorRef, const UInt8 *bytes, CFIndex length,
                                    CFStringEncoding encoding, Boolean) {
  CheckEncoding(encoding, "CFStringCreateWithBytes");
  return vt_shim::NewString({reinterpret_cast<const char *>(bytes), static_cast<size_t>(length)});
}

CFStringRef CFStringCreateCopy(CFAllocatorRef, CFStringRef string) {
  return static_cast<CFStringRef>(CFRetain(&Check(string, "CFStringCreateCopy")));
}

CFIndex CFStringGetLength(CFStringRef string) {
  return static_cast<CFIndex>(Check(string, "CFStringGetLength").view().size());
}

CFIndex CFStringGetMaximumSizeForEncoding(CFIndex length, CFStringEncoding encoding) {
  return encoding == kCFStringEncodingUTF8 ? 3 * length : length;
}

Boolean CFStringGetCString(CFStringRef string, char *buffer, CFIndex size,
                           CFStringEncoding encoding) {
  const auto text = Check(string, "CFStringGetCString").view();
  CheckEncoding(encoding, "CFStringGetCString");
  if (size < 0 || text.size() >= static_cast<size_t>(size)) {
    return false;
  }
  memcpy(buffer, text.data(), text.size());
  buffer[text.size()] = '\0';
  return true;
}

const char *CFStringGetCStringPtr(CFStringRef string, CFStringEncoding) {
  Check(string, "CFStringGetCStringPtr");
  return nullptr;
}

CFComparisonResult CFStringCompare(CFStringRef one, CFStringRef other, CFStringCompareFlags flags) {
  const char *left = Check(one, "CFStringCompare").text;
  const char *right = Check(other, "CFStringCompare").text;
  const int order =
      (flags & kCFCompareCaseInsensitive) != 0 ? strcasecmp(left, right) : strcmp(left, right);
  return order < 0 ? kCFCompareLessThan : order > 0 ? kCFCompareGreaterThan : kCFCompareEqualTo;
}

Boolean CFStringHasPrefix(CFStringRef string, CFStringRef prefix) {
  return Check(string, "CFStringHasPrefix").view().starts_with(Check(prefix, "").view());
}

Boolean CFStringHasSuffix(CFStringRef string, CFStringRef suffix) {
  return Check(string, "CFStringHasSuffix").view().ends_with(Check(suffix, "").view());
}
