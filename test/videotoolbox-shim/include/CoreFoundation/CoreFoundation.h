// The subset of CoreFoundation's C API that an encoder needs, for C++ on Linux. See
// ../../README.md.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <type_traits>

// Functions are C; constants are exported too, so that dlsym finds them in a program linked with
// -rdynamic.
#define CF_EXPORT extern "C" __attribute__((visibility("default")))
// Enumerations have the underlying type that Apple gives them. Sets of flags are plain numbers in
// C++, with constants of their own type.
#define CF_ENUM(type, name) enum name : type
#define CF_CONSTANTS(type) enum : type
#define CF_OPTIONS(type, name) \
  typedef type name;           \
  enum : type
#define CF_DECLARE_STRING(symbol, value) CF_EXPORT const CFStringRef symbol;

typedef unsigned char Boolean;
typedef uint32_t UInt32;
typedef int32_t SInt32;
typedef double Float64;
typedef SInt32 OSStatus;
typedef UInt32 OSType;
typedef UInt32 FourCharCode;

CF_CONSTANTS(OSStatus){noErr = 0};

typedef signed long CFIndex;
typedef unsigned long CFTypeID;

typedef const void *CFTypeRef;
typedef const struct __CFAllocator *CFAllocatorRef;
typedef const struct __CFArray *CFArrayRef;
typedef const struct __CFBoolean *CFBooleanRef;
typedef const struct __CFDictionary *CFDictionaryRef;
typedef struct __CFDictionary *CFMutableDictionaryRef;
typedef const struct __CFNumber *CFNumberRef;
typedef const struct __CFString *CFStringRef;

// Every allocator is the default one here, NULL: objects come from operator new.
CF_EXPORT const CFAllocatorRef kCFAllocatorDefault;

CF_EXPORT CFTypeRef CFRetain(CFTypeRef object);
CF_EXPORT void CFRelease(CFTypeRef object);
CF_EXPORT CFIndex CFGetRetainCount(CFTypeRef object);
CF_EXPORT CFTypeID CFGetTypeID(CFTypeRef object);
CF_EXPORT Boolean CFEqual(CFTypeRef one, CFTypeRef other);

// Arrays and dictionaries. Only the kCFType callbacks exist: values and keys are CF objects and
// retained.
struct CFArrayCallBacks {
  CFIndex version;
};
struct CFDictionaryKeyCallBacks {
  CFIndex version;
};
struct CFDictionaryValueCallBacks {
  CFIndex version;
};
CF_EXPORT const CFArrayCallBacks kCFTypeArrayCallBacks;
CF_EXPORT const CFDictionaryKeyCallBacks kCFTypeDictionaryKeyCallBacks;
CF_EXPORT const CFDictionaryValueCallBacks kCFTypeDictionaryValueCallBacks;

CF_EXPORT CFArrayRef CFArrayCreate(CFAllocatorRef allocator, const void **values, CFIndex count,
                                   const CFArrayCallBacks *callbacks);
CF_EXPORT CFIndex CFArrayGetCount(CFArrayRef array);
CF_EXPORT const void *CFArrayGetValueAtIndex(CFArrayRef array, CFIndex index);

CF_EXPORT CFDictionaryRef CFDictionaryCreate(CFAllocatorRef allocator, const void **keys,
                                             const void **values, CFIndex count,
                                             const CFDictionaryKeyCallBacks *key_callbacks,
                                             const CFDictionaryValueCallBacks *value_callbacks);
CF_EXPORT CFMutableDictionaryRef CFDictionaryCreateMutable(
    CFAllocatorRef allocator, CFIndex capacity, const CFDictionaryKeyCallBacks *key_callbacks,
    const CFDictionaryValueCallBacks *value_callbacks);
CF_EXPORT const void *CFDictionaryGetValue(CFDictionaryRef dictionary, const void *key);
CF_EXPORT void CFDictionarySetValue(CFMutableDictionaryRef dictionary, const void *key,
                                    const void *value);

// Strings are UTF-8 here.
CF_ENUM(UInt32, CFStringEncoding){kCFStringEncodingUTF8 = 0x08000100};
// A literal as an immortal string; equal literals give the same object.
#define CFSTR(literal) __CFStringMakeConstantString("" literal "")
CF_EXPORT CFStringRef __CFStringMakeConstantString(const char *literal);
CF_EXPORT CFTypeID CFStringGetTypeID(void);
CF_EXPORT CFIndex CFStringGetLength(CFStringRef string);
CF_EXPORT CFIndex CFStringGetMaximumSizeForEncoding(CFIndex length, CFStringEncoding encoding);
// false when the buffer cannot hold the text and its NUL.
CF_EXPORT Boolean CFStringGetCString(CFStringRef string, char *buffer, CFIndex size,
                                     CFStringEncoding encoding);

// Booleans and numbers.
CF_ENUM(CFIndex, CFNumberType){
    kCFNumberSInt8Type = 1,    kCFNumberSInt16Type = 2,    kCFNumberSInt32Type = 3,
    kCFNumberSInt64Type = 4,   kCFNumberFloat32Type = 5,   kCFNumberFloat64Type = 6,
    kCFNumberCharType = 7,     kCFNumberShortType = 8,     kCFNumberIntType = 9,
    kCFNumberLongType = 10,    kCFNumberLongLongType = 11, kCFNumberFloatType = 12,
    kCFNumberDoubleType = 13,  kCFNumberCFIndexType = 14,  kCFNumberNSIntegerType = 15,
    kCFNumberCGFloatType = 16, kCFNumberMaxType = 16,
};

CF_EXPORT const CFBooleanRef kCFBooleanTrue;
CF_EXPORT const CFBooleanRef kCFBooleanFalse;
CF_EXPORT CFTypeID CFBooleanGetTypeID(void);
CF_EXPORT Boolean CFBooleanGetValue(CFBooleanRef boolean);

CF_EXPORT CFTypeID CFNumberGetTypeID(void);
CF_EXPORT CFNumberRef CFNumberCreate(CFAllocatorRef allocator, CFNumberType type,
                                     const void *value);
// false when the value does not fit the type without loss; *value is the nearest then.
CF_EXPORT Boolean CFNumberGetValue(CFNumberRef number, CFNumberType type, void *value);

// Behaviour 16: the C functions take any pointer, and reading a double as kCFNumberIntType compiles
// everywhere. These overloads see the pointer's own type; one of another size or kind ends the
// process with a message.
CF_EXPORT void vt_shim_check_number_type(const char *function, CFNumberType type, size_t size,
                                         Boolean floating);

template <typename T>
requires std::is_arithmetic_v<T> CFNumberRef CFNumberCreate(CFAllocatorRef allocator,
                                                            CFNumberType type, const T *value) {
  vt_shim_check_number_type("CFNumberCreate", type, sizeof(T), std::is_floating_point_v<T>);
  return CFNumberCreate(allocator, type, static_cast<const void *>(value));
}

template <typename T>
requires std::is_arithmetic_v<T> Boolean CFNumberGetValue(CFNumberRef number, CFNumberType type,
                                                          T *value) {
  vt_shim_check_number_type("CFNumberGetValue", type, sizeof(T), std::is_floating_point_v<T>);
  return CFNumberGetValue(number, type, static_cast<void *>(value));
}
