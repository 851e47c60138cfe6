// What every CF object has: a type, a retain count, and a place in the list of the living.
#pragma once

#include <CoreFoundation/CoreFoundation.h>

#include <atomic>
#include <string>
#include <utility>

namespace vt_shim {

struct Type {
  const char *name;
  CFTypeID id;
};

enum class Lifetime { kCounted, kImmortal };

class Object {
 public:
  // Immortal objects are constants: they can be initialised at compile time and are not listed.
  constexpr explicit Object(const Type &type) : type_(&type), count_(kImmortalCount) {}
  Object(const Type &type, Lifetime lifetime);
  Object(const Object &) = delete;
  Object &operator=(const Object &) = delete;

  const Type &type() const { return *type_; }
  CFIndex count() const { return count_.load(std::memory_order_relaxed); }

  // Ends the process when the object is dead. `where` is the function that was called.
  void Retain(const char *where) const;
  void Release(const char *where) const;

  virtual bool Equals(const Object &other) const { return this == &other; }
  virtual size_t Hash() const { return reinterpret_cast<size_t>(this); }
  virtual std::string Describe() const { return type_->name; }

 protected:
  ~Object() = default;
  // Gives up what the object owns. Called once, when the last reference goes; the object itself is
  // kept a while, so that whoever still uses it gets a message.
  virtual void Finalize() {}
  virtual void Destroy() = 0;

 private:
  friend class Graveyard;
  static constexpr CFIndex kImmortalCount = CFIndex{1} << 60;

  const Type *type_;
  mutable std::atomic<CFIndex> count_;
};

// Base of the class T; kTypeOf<T> names it.
template <typename T>
extern const Type kTypeOf;

template <typename T>
class ObjectOf : public Object {
 public:
  using Object::Object;

 protected:
  void Destroy() override { delete static_cast<T *>(this); }
};

// The object behind a reference; ends the process for NULL, a dead object and one of another type.
const Object &CheckObject(CFTypeRef reference, const Type *type, const char *where);

template <typename T>
T &Check(const T *reference, const char *where) {
  CheckObject(reference, &kTypeOf<T>, where);
  return *const_cast<T *>(reference);
}

// nullptr when the object is of another type, or NULL.
template <typename T>
T *As(CFTypeRef reference) {
  if (reference == nullptr || CheckObject(reference, nullptr, "As").type().id != kTypeOf<T>.id) {
    return nullptr;
  }
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
    if (object_ != nullptr) {
      object_->Release("the shim");
    }
  }
  static Ref Adopt(const T *object) {
    Ref ref;
    ref.object_ = object;
    return ref;
  }
  static Ref Share(const T *object) {
    if (object != nullptr) {
      object->Retain("the shim");
    }
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
inline const Object *ToObject(CFTypeRef reference) {
  return static_cast<const Object *>(reference);
}

}  // namespace vt_shim
