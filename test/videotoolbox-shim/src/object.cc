#include "object.h"

#include <cstdlib>
#include <deque>
#include <map>
#include <mutex>
#include <unordered_set>

#include "cf_types.h"
#include "violation.h"
#include "vt_shim.h"

namespace vt_shim {

// Lists the living, and keeps the last of the dead.
class Graveyard {
 public:
  static Graveyard &Instance() {
    static auto *graveyard = new Graveyard;  // outlives the objects that static destructors release
    return *graveyard;
  }

  void Add(const Object *object) {
    std::lock_guard lock(mutex_);
    live_.insert(object);
  }

  void Bury(Object *object) {
    object->Finalize();
    Object *oldest = nullptr;
    {
      std::lock_guard lock(mutex_);
      live_.erase(object);
      dead_.push_back(object);
      if (dead_.size() > kRemembered) {
        oldest = dead_.front();
        dead_.pop_front();
      }
    }
    if (oldest != nullptr) {
      oldest->Destroy();
    }
  }

  size_t Count(const char *type) {
    std::lock_guard lock(mutex_);
    size_t count = 0;
    for (const Object *object : live_) {
      count += type == nullptr || std::string(type) == object->type().name ? 1 : 0;
    }
    return count;
  }

  size_t Report() {
    std::lock_guard lock(mutex_);
    for (const Object *object : live_) {
      fprintf(stderr, "vt_shim: leak: %s, retain count %ld\n", object->Describe().c_str(),
              object->count());
    }
    return live_.size();
  }

 private:
  static constexpr size_t kRemembered = 4096;

  std::mutex mutex_;
  std::unordered_set<const Object *> live_;
  std::deque<Object *> dead_;
};

Object::Object(const Type &type, Lifetime lifetime)
    : type_(&type), count_(lifetime == Lifetime::kCounted ? 1 : kImmortalCount) {
  if (lifetime == Lifetime::kCounted) {
    Graveyard::Instance().Add(this);
  }
}

void Object::Retain(const char *where) const {
  if (count() == kImmortalCount) {
    return;
  }
  if (count_.fetch_add(1, std::memory_order_relaxed) <= 0) {
    Violation(std::string(where) + ": this " + type_->name +
              " has been released by its last owner");
  }
}

void Object::Release(const char *where) const {
  if (count() == kImmortalCount) {
    return;
  }
  const CFIndex before = count_.fetch_sub(1, std::memory_order_acq_rel);
  if (before <= 0) {
    Violation(std::string(where) + ": over-release: this " + type_->name +
              " has been released by its last owner already");
  }
  if (before == 1) {
    Graveyard::Instance().Bury(const_cast<Object *>(this));
  }
}

const Object &CheckObject(CFTypeRef reference, const Type *type, const char *where) {
  if (reference == nullptr) {
    Violation(std::string(where) + ": the reference is NULL");
  }
  const Object &object = *ToObject(reference);
  if (object.count() <= 0) {
    Violation(std::string(where) + ": this " + object.type().name +
              " is used after its last release");
  }
  if (type != nullptr && object.type().id != type->id) {
    Violation(std::string(where) + ": a " + object.type().name + " where a " + type->name +
              " belongs");
  }
  return object;
}

}  // namespace vt_shim

using vt_shim::CheckObject;

CFTypeRef CFRetain(CFTypeRef object) {
  if (object == nullptr) {
    vt_shim::Violation("CFRetain: the reference is NULL");
  }
  vt_shim::ToObject(object)->Retain("CFRetain");
  return object;
}

void CFRelease(CFTypeRef object) {
  if (object == nullptr) {
    vt_shim::Violation("CFRelease: the reference is NULL");
  }
  vt_shim::ToObject(object)->Release("CFRelease");
}

CFIndex CFGetRetainCount(CFTypeRef object) {
  return CheckObject(object, nullptr, "CFGetRetainCount").count();
}

CFTypeID CFGetTypeID(CFTypeRef object) {
  return CheckObject(object, nullptr, "CFGetTypeID").type().id;
}

Boolean CFEqual(CFTypeRef one, CFTypeRef other) {
  const auto &left = CheckObject(one, nullptr, "CFEqual");
  const auto &right = CheckObject(other, nullptr, "CFEqual");
  return left.type().id == right.type().id && left.Equals(right);
}

CFHashCode CFHash(CFTypeRef object) {
  return CheckObject(object, nullptr, "CFHash").Hash();
}

CFStringRef CFCopyDescription(CFTypeRef object) {
  return vt_shim::NewString(CheckObject(object, nullptr, "CFCopyDescription").Describe());
}

size_t vt_shim_live_objects(const char *type) {
  return vt_shim::Graveyard::Instance().Count(type);
}

size_t vt_shim_check_leaks(void) {
  return vt_shim::Graveyard::Instance().Report();
}
