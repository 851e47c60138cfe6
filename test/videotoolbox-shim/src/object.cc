#include "object.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <new>
#include <unordered_set>

namespace vt_shim {
namespace {

// Lists the living, and keeps the last of the dead.
struct Graveyard {
  static constexpr size_t kRemembered = 4096;

  std::mutex mutex;
  std::unordered_set<const Object *> live;
  std::deque<Object *> dead;

  static Graveyard &Instance() {
    static auto *graveyard = new Graveyard;  // outlives the objects that static destructors release
    return *graveyard;
  }

  // A dead object stays in the memory of the one that has ended, so that its use can be reported.
  void Bury(Object *object) {
    {
      std::lock_guard lock(mutex);
      live.erase(object);
    }
    const char *type = object->type();
    object->~Object();
    new (object) Object(type, 0);
    std::lock_guard lock(mutex);
    dead.push_back(object);
    if (dead.size() > kRemembered) {
      ::operator delete(dead.front());
      dead.pop_front();
    }
  }
};

// VT_SHIM_REPORT names a file for the counters, VT_SHIM_LEAKS is "report" or "abort".
void AtExit() {
  if (const char *path = getenv("VT_SHIM_REPORT"); path != nullptr) {
    FILE *file = fopen(path, "w");
    if (file == nullptr) Violation(std::string("VT_SHIM_REPORT: cannot write ") + path);
#define VT_SHIM_PRINT(name) \
  fprintf(file, "\"%s\": %llu, ", #name, static_cast<unsigned long long>(Count().name.load()));
    fprintf(file, "{");
    VT_SHIM_COUNTERS(VT_SHIM_PRINT)
    fprintf(file, "\"live_objects\": %zu}\n", vt_shim_live_objects(nullptr));
    fclose(file);
  }
  const char *leaks = getenv("VT_SHIM_LEAKS");
  if (leaks == nullptr) return;
  const size_t count = vt_shim_check_leaks();
  if (count > 0 && strcmp(leaks, "abort") == 0) {
    Violation(std::to_string(count) + " objects were never released");
  }
}

[[maybe_unused]] const int kRegistered = atexit(AtExit);

}  // namespace

Counters &Count() {
  static auto *counters = new Counters;
  return *counters;
}

void Violation(const std::string &message) {
  fprintf(stderr, "vt_shim: violation: %s\n", message.c_str());
  fflush(stderr);
  abort();
}

Object::Object(const char *type, CFIndex count) : type_(type), count_(count) {
  if (count > 0) {
    Graveyard &graveyard = Graveyard::Instance();
    std::lock_guard lock(graveyard.mutex);
    graveyard.live.insert(this);
  }
}

void Object::Retain(const char *where) const {
  if (count() != kImmortalCount && count_.fetch_add(1, std::memory_order_relaxed) <= 0) {
    Violation(std::string(where) + ": this " + type_ + " has been released by its last owner");
  }
}

void Object::Release(const char *where) const {
  if (count() == kImmortalCount) return;
  const CFIndex before = count_.fetch_sub(1, std::memory_order_acq_rel);
  if (before <= 0) {
    Violation(std::string(where) + ": over-release: this " + type_ +
              " has been released by its last owner already");
  }
  if (before == 1) Graveyard::Instance().Bury(const_cast<Object *>(this));
}

const Object &CheckObject(CFTypeRef reference, const char *type, const char *where) {
  if (reference == nullptr) Violation(std::string(where) + ": the reference is NULL");
  const auto &object = *static_cast<const Object *>(reference);
  if (object.count() <= 0) {
    Violation(std::string(where) + ": this " + object.type() + " is used after its last release");
  }
  if (type != nullptr && object.type() != type) {
    Violation(std::string(where) + ": a " + object.type() + " where a " + type + " belongs");
  }
  return object;
}

}  // namespace vt_shim

using namespace vt_shim;

CFTypeRef CFRetain(CFTypeRef object) {
  if (object == nullptr) vt_shim::Violation("CFRetain: the reference is NULL");
  static_cast<const Object *>(object)->Retain("CFRetain");
  return object;
}

void CFRelease(CFTypeRef object) {
  if (object == nullptr) vt_shim::Violation("CFRelease: the reference is NULL");
  static_cast<const Object *>(object)->Release("CFRelease");
}

CFIndex CFGetRetainCount(CFTypeRef object) {
  return CheckObject(object).count();
}
CFTypeID CFGetTypeID(CFTypeRef object) {
  return reinterpret_cast<CFTypeID>(CheckObject(object).type());
}

Boolean CFEqual(CFTypeRef one, CFTypeRef other) {
  const Object &left = CheckObject(one);
  const Object &right = CheckObject(other);
  return left.type() == right.type() && left.Equals(right);
}

size_t vt_shim_live_objects(const char *type) {
  auto &graveyard = vt_shim::Graveyard::Instance();
  std::lock_guard lock(graveyard.mutex);
  size_t count = 0;
  for (const Object *object : graveyard.live) {
    count += type == nullptr || strcmp(type, object->type()) == 0 ? 1 : 0;
  }
  return count;
}

size_t vt_shim_check_leaks(void) {
  auto &graveyard = vt_shim::Graveyard::Instance();
  std::lock_guard lock(graveyard.mutex);
  for (const Object *object : graveyard.live) {
    fprintf(stderr, "vt_shim: leak: %s, retain count %ld\n", object->Describe().c_str(),
            object->count());
  }
  return graveyard.live.size();
}

void vt_shim_get_counters(vt_shim_counters *counters) {
#define VT_SHIM_COPY(name) counters->name = vt_shim::Count().name;
  VT_SHIM_COUNTERS(VT_SHIM_COPY)
}
