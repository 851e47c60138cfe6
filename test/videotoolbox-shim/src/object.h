// What every CF object has: a type, a retain count, and an entry in the list of live objects.
#pragma once

#include <CoreFoundation/CoreFoundation.h>

#include <atomic>
#include <string>
#include <utility>

#include "vt_shim.h"

namespace vt_shim {

// The counters of vt_shim.h, while they are counted.
#define VT_SHIM_ATOMIC(name) std::atomic<uint64_t> name = 0;
struct Counters {
  VT_SHIM_COUNTERS(VT_SHIM_ATOMIC)
};
Counters &Count();

// Reports a use of the API that a Mac would answer with a crash, a hang, a leak or a wrong picture,
// and ends the process by abort().
[[noreturn]] void Violation(const std::string &message);

class Object {
 public:
  // Immortal objects are constants: they are initialised at compile time and are not listed.
  constexpr explicit Object(const char *type) : type_(type), count_(kImmortalCount) {}
  Object(const char *type, CFIndex count);
  Object(const Object &) = delete;
  Object &operator=(const Object &) = delete;
  // Gives up what the object owns. The memory is kept for a while, as an object that is dead.
  virtual ~Object() = default;

  const char *type() const { return type_; }
  CFIndex count() const { return count_.load(std::memory_order_relaxed); }

  // Ends the process when the object is dead. `where` is the function that was called.
  void Retain(const char *where) const;
  void Release(const char *where) const;

  virtual bool Equals(const Object &other) const { return this == &other; }
  virtual std::string Describe() const { return type_; }

 private:
  static constexpr CFIndex kImmortalCount = CFIndex{1} << 60;

  const char *type_;  // the address identifies the type
  mutable std::atomic<CFIndex> count_;
};

enum Immortal { kImmortal };

// Base of the class T, whose kType names it.
template <typename T>
class ObjectOf : public Object {
 public:
  ObjectOf() : Object(T::kType, 1) {}
  constexpr explicit ObjectOf(Immortal) : Object(T::kType) {}
};

// A constant, which is ready before any constructor runs and is never destroyed.
template <typename T>
union Constant {
  template <typename... Arguments>
  constexpr explicit Constant(Arguments... arguments) : object(arguments...) {}
  ~Constant() {}
  T object;
};

template <typename T>
CFTypeID TypeIdOf() {
  return reinterpret_cast<CFTypeID>(T::kType);
}

// The object behind a reference; ends the process for NULL, a dead object, and one of another type
// than `type`, unless that is nullptr. `where` is by default the calling function's name.
const Object &CheckObject(CFTypeRef reference, const char *type = nullptr,
                          const char *where = __builtin_FUNCTION());

template <typename T>
T &Check(const T *reference, const char *where = __builtin_FUNCTION()) {
  CheckObject(reference, T::kType, where);
  return *const_cast<T *>(reference);
}

// nullptr when the object is of another type, or NULL.
template <typename T>
T *As(CFTypeRef reference) {
  if (reference == nullptr || CheckObject(reference).type() != T::kType) return nullptr;
  return const_cast<T *>(static_cast<const T *>(static_cast<const Object *>(reference)));
}

// An owned reference.
template <typename T>
class Ref {
 public:
  Ref() = default;
  Ref(Ref &&other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref(const Ref &other) : Ref(Share(other.object_)) {}
  Ref &operator=(Ref other) {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    if (object_ != nullptr) object_->Release("the shim");
  }
  static Ref Adopt(const T *object) {
    Ref ref;
    ref.object_ = object;
    return ref;
  }
  static Ref Share(const T *object) {
    if (object != nullptr) object->Retain("the shim");
    return Adopt(object);
  }
  T *get() const { return const_cast<T *>(object_); }
  T *operator->() const { return get(); }
  T &operator*() const { return *get(); }
  explicit operator bool() const { return object_ != nullptr; }
  T *Give() { return const_cast<T *>(std::exchange(object_, nullptr)); }

 private:
  const T *object_ = nullptr;
};

using AnyRef = Ref<Object>;

// A new object, made of the arguments.
template <typename T, typename... Arguments>
Ref<T> Make(Arguments &&...arguments) {
  return Ref<T>::Adopt(new T(std::forward<Arguments>(arguments)...));
}

}  // namespace vt_shim
