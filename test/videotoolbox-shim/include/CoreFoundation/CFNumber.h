// Numbers and booleans.
#pragma once

#include <CoreFoundation/CFBase.h>

typedef const struct __CFNumber *CFNumberRef;
typedef const struct __CFBoolean *CFBooleanRef;

typedef CFIndex CFNumberType;
enum {
  kCFNumberSInt8Type = 1,
  kCFNumberSInt16Type = 2,
  kCFNumberSInt32Type = 3,
  kCFNumberSInt64Type = 4,
  kCFNumberFloat32Type = 5,
  kCFNumberFloat64Type = 6,
  kCFNumberCharType = 7,
  kCFNumberShortType = 8,
  kCFNumberIntType = 9,
  kCFNumberLongType = 10,
  kCFNumberLongLongType = 11,
  kCFNumberFloatType = 12,
  kCFNumberDoubleType = 13,
  kCFNumberCFIndexType = 14,
  kCFNumberNSIntegerType = 15,
  kCFNumberCGFloatType = 16,
  kCFNumberMaxType = 16
};

CF_EXPORT const CFBooleanRef kCFBooleanTrue;
CF_EXPORT const CFBooleanRef kCFBooleanFalse;

CF_EXPORT CFTypeID CFBooleanGetTypeID(void);
CF_EXPORT Boolean CFBooleanGetValue(CFBooleanRef boolean);

CF_EXPORT CFTypeID CFNumberGetTypeID(void);
CF_EXPORT CFNumberRef CFNumberCreate(CFAllocatorRef allocator, CFNumberType type,
                                     const void *value);
CF_EXPORT CFNumberType CFNumberGetType(CFNumberRef number);
CF_EXPORT CFIndex CFNumberGetByteSize(CFNumberRef number);
CF_EXPORT Boolean CFNumberIsFloatType(CFNumberRef number);
// false when the value does not fit the type without loss; *value is the nearest then.
CF_EXPORT Boolean CFNumberGetValue(CFNumberRef number, CFNumberType type, void *value);

#ifdef __cplusplus
#include <type_traits>

// Behaviour 16: the C functions take any pointer, and reading a double as kCFNumberIntType compiles
// everywhere. In C++ these overloads see what the pointer points to; a type of another size or kind
// ends the process with a message.
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
#endif
