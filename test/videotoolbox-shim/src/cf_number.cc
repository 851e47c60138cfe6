#include <cmath>
#include <cstring>
#include <limits>

#include "cf_types.h"
#include "violation.h"

using vt_shim::Check;
using vt_shim::kTypeOf;
using vt_shim::Lifetime;

namespace {

struct Representation {
  size_t size;
  bool floating;
};

// Of a 64-bit Mac, where long and CGFloat have eight bytes.
Representation RepresentationOf(CFNumberType type, const char *where) {
  switch (type) {
    case kCFNumberSInt8Type:
    case kCFNumberCharType:
      return {1, false};
    case kCFNumberSInt16Type:
    case kCFNumberShortType:
      return {2, false};
    case kCFNumberSInt32Type:
    case kCFNumberIntType:
      return {4, false};
    case kCFNumberSInt64Type:
    case kCFNumberLongType:
    case kCFNumberLongLongType:
    case kCFNumberCFIndexType:
    case kCFNumberNSIntegerType:
      return {8, false};
    case kCFNumberFloat32Type:
    case kCFNumberFloatType:
      return {4, true};
    case kCFNumberFloat64Type:
    case kCFNumberDoubleType:
    case kCFNumberCGFloatType:
      return {8, true};
    default:
      vt_shim::Violation(std::string(where) + ": " + std::to_string(type) + " is no CFNumberType");
  }
}

template <typename T>
T Load(const void *bytes) {
  T value;
  memcpy(&value, bytes, sizeof value);
  return value;
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

constexpr __CFBoolean MakeBoolean(bool value) {
  return __CFBoolean(value);
}
constinit const __CFBoolean kTrueObject = MakeBoolean(true);
constinit const __CFBoolean kFalseObject = MakeBoolean(false);
constinit const __CFNull kNullObject;
constinit const __CFAllocator kAllocatorObject;

}  // namespace

const CFBooleanRef kCFBooleanTrue = &kTrueObject;
const CFBooleanRef kCFBooleanFalse = &kFalseObject;
const CFNullRef kCFNull = &kNullObject;
const CFAllocatorRef kCFAllocatorDefault = nullptr;
const CFAllocatorRef kCFAllocatorSystemDefault = &kAllocatorObject;
const CFAllocatorRef kCFAllocatorMalloc = &kAllocatorObject;
const CFAllocatorRef kCFAllocatorNull = &kAllocatorObject;

__CFNumber::__CFNumber(CFNumberType type, double value)
    : ObjectOf(kTypeOf<__CFNumber>, Lifetime::kCounted),
      number_type(type),
      floating(true),
      real_value(value) {}

__CFNumber::__CFNumber(CFNumberType type, int64_t value)
    : ObjectOf(kTypeOf<__CFNumber>, Lifetime::kCounted),
      number_type(type),
      floating(false),
      integer_value(value) {}

bool __CFNumber::Equals(const Object &other) const {
  const auto &number = static_cast<const __CFNumber &>(other);
  return floating || number.floating ? real() == number.real()
                                     : integer_value == number.integer_value;
}
size_t __CFNumber::Hash() const {
  return std::hash<double>()(real());
}
std::string __CFNumber::Describe() const {
  return "CFNumber " + (floating ? std::to_string(real_value) : std::to_string(integer_value));
}

namespace vt_shim {

CFNumberRef NewNumber(int64_t value) {
  return new __CFNumber(kCFNumberSInt64Type, value);
}

}  // namespace vt_shim

CFTypeID CFNullGetTypeID(void) {
  return kTypeOf<__CFNull>.id;
}
CFTypeID CFBooleanGetTypeID(void) {
  return kTypeOf<__CFBoolean>.id;
}
Boolean CFBooleanGetValue(CFBooleanRef boolean) {
  return Check(boolean, "CFBooleanGetValue").value;
}

void vt_shim_check_number_type(const char *function, CFNumberType type, size_t size,
                               Boolean floating) {
  const Representation expected = RepresentationOf(type, function);
  if (expected.size != size || expected.floating != static_cast<bool>(floating)) {
    vt_shim::Violation(std::string(function) + ": type confusion: CFNumberType " +
                       std::to_string(type) + " is " + std::to_string(expected.size) +
                       (expected.floating ? " bytes of floating point" : " bytes of integer") +
                       ", the variable is " + std::to_string(size) +
                       (floating ? " bytes of floating point" : " bytes of integer"));
  }
}

CFTypeID CFNumberGetTypeID(void) {
  return kTypeOf<__CFNumber>.id;
}

CFNumberRef CFNumberCreate(CFAllocatorRef, CFNumberType type, const void *value) {
  const Representation representation = RepresentationOf(type, "CFNumberCreate");
  if (representation.floating) {
    return new __CFNumber(type, representation.size == 4 ? static_cast<double>(Load<float>(value))
                                                         : Load<double>(value));
  }
  switch (representation.size) {
    case 1:
      return new __CFNumber(type, static_cast<int64_t>(Load<int8_t>(value)));
    case 2:
      return new __CFNumber(type, static_cast<int64_t>(Load<int16_t>(value)));
    case 4:
      return new __CFNumber(type, static_cast<int64_t>(Load<int32_t>(value)));
    default:
      return new __CFNumber(type, Load<int64_t>(value));
  }
}

CFNumberType CFNumberGetType(CFNumberRef number) {
  return Check(number, "CFNumberGetType").number_type;
}

CFIndex CFNumberGetByteSize(CFNumberRef number) {
  const auto type = Check(number, "CFNumberGetByteSize").number_type;
  return static_cast<CFIndex>(RepresentationOf(type, "CFNumberGetByteSize").size);
}

Boolean CFNumberIsFloatType(CFNumberRef number) {
  return Check(number, "CFNumberIsFloatType").floating;
}

Boolean CFNumberGetValue(CFNumberRef number, CFNumberType type, void *value) {
  const auto &object = Check(number, "CFNumberGetValue");
  const Representation representation = RepresentationOf(type, "CFNumberGetValue");
  if (representation.floating) {
    return representation.size == 4 ? Store<float>(object, value) : Store<double>(object, value);
  }
  switch (representation.size) {
    case 1:
      return Store<int8_t>(object, value);
    case 2:
      return Store<int16_t>(object, value);
    case 4:
      return Store<int32_t>(object, value);
    default:
      return Store<int64_t>(object, value);
  }
}
