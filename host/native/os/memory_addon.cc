#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../platform/platform.h"
#include "addon.h"
#include "guest_memory.h"
#include "virtqueue.h"

namespace vsockenc {

namespace {

// Longest copy out of guest memory in one call.
constexpr uint64_t kMaxRead = uint64_t{64} << 20;

uint64_t Unsigned(const Napi::Value &value) {
  return static_cast<uint64_t>(value.As<Napi::Number>().Int64Value());
}

// Runs `body`, whose C++ exceptions become JavaScript errors.
template <typename Body>
auto Translated(Napi::Env env, Body body) {
  try {
    return body();
  } catch (const Napi::Error &) {
    throw;
  } catch (const std::system_error &error) {
    Napi::Error translated = Napi::Error::New(env, error.what());
    translated.Set("errno", Napi::Number::New(env, error.code().value()));
    throw translated;
  } catch (const std::exception &error) {
    throw Napi::Error::New(env, error.what());
  }
}

class GuestMemoryObject : public Napi::ObjectWrap<GuestMemoryObject> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "GuestMemory",
                       {InstanceMethod<&GuestMemoryObject::Read>("read"),
                        InstanceMethod<&GuestMemoryObject::Write>("write"),
                        InstanceMethod<&GuestMemoryObject::Translate>("translate"),
                        InstanceMethod<&GuestMemoryObject::Memories>("memories"),
                        InstanceMethod<&GuestMemoryObject::OpenMemory>("openMemory"),
                        InstanceMethod<&GuestMemoryObject::Close>("close")});
  }

  // new GuestMemory([{guestAddress, size, userAddress, fileOffset}], [fd]); owns the descriptors.
  explicit GuestMemoryObject(const Napi::CallbackInfo &info)
      : Napi::ObjectWrap<GuestMemoryObject>(info) {
    const auto list = info[0].As<Napi::Array>();
    const auto fds = info[1].As<Napi::Array>();
    std::vector<Descriptor> descriptors;
    for (uint32_t i = 0; i < fds.Length(); i++) {
      descriptors.emplace_back(fds.Get(i).As<Napi::Number>().Int32Value());
    }
    std::vector<RegionDescription> regions;
    for (uint32_t i = 0; i < list.Length(); i++) {
      const auto region = list.Get(i).As<Napi::Object>();
      regions.push_back({Unsigned(region.Get("guestAddress")), Unsigned(region.Get("size")),
                         Unsigned(region.Get("userAddress")), Unsigned(region.Get("fileOffset"))});
    }
    memory_ = Translated(info.Env(), [&] {
      return std::make_shared<const GuestMemory>(std::move(regions), std::move(descriptors));
    });
  }

  // Throws after close().
  const std::shared_ptr<const GuestMemory> &memory(Napi::Env env) const {
    if (!memory_) throw Napi::Error::New(env, "the guest memory is closed");
    return memory_;
  }

 private:
  // close(): unmaps as soon as no queue uses the memory; does not wait for the garbage collector.
  void Close(const Napi::CallbackInfo &) { memory_.reset(); }

  // read(address, length) → Buffer, or null if part is outside.
  Napi::Value Read(const Napi::CallbackInfo &info) {
    const uint64_t length = Unsigned(info[1]);
    if (length > kMaxRead) throw Napi::RangeError::New(info.Env(), "read: too long");
    auto buffer = Napi::Buffer<uint8_t>::New(info.Env(), static_cast<size_t>(length));
    if (!memory(info.Env())->Read(Unsigned(info[0]), buffer.Data(), length))
      return info.Env().Null();
    return buffer;
  }

  // write(address, bytes) → whether all of it lies in memory.
  Napi::Value Write(const Napi::CallbackInfo &info) {
    const auto bytes = info[1].As<Napi::Uint8Array>();
    return Napi::Boolean::New(
        info.Env(), memory(info.Env())->Write(Unsigned(info[0]), bytes.Data(), bytes.ByteLength()));
  }

  // translate([address, length, …], limit) → Float64Array [memory, offset, length, …], or null.
  Napi::Value Translate(const Napi::CallbackInfo &info) {
    const auto list = info[0].As<Napi::Float64Array>();
    std::vector<AddressRange> ranges;
    ranges.reserve(list.ElementLength() / 2);
    for (size_t i = 0; i + 1 < list.ElementLength(); i += 2) {
      ranges.push_back({static_cast<uint64_t>(list[i]), static_cast<uint64_t>(list[i + 1])});
    }
    std::vector<FileRange> found;
    if (!memory(info.Env())->Translate(ranges, static_cast<size_t>(Unsigned(info[1])), &found)) {
      return info.Env().Null();
    }
    auto result = Napi::Float64Array::New(info.Env(), found.size() * 3);
    for (size_t i = 0; i < found.size(); i++) {
      result[i * 3] = static_cast<double>(found[i].memory);
      result[i * 3 + 1] = static_cast<double>(found[i].offset);
      result[i * 3 + 2] = static_cast<double>(found[i].length);
    }
    return result;
  }

  // memories() → [{identity, size}], in the order of translate's indices.
  Napi::Value Memories(const Napi::CallbackInfo &info) {
    const auto &memories = memory(info.Env())->memories();
    auto list = Napi::Array::New(info.Env(), memories.size());
    for (uint32_t i = 0; i < memories.size(); i++) {
      auto entry = Napi::Object::New(info.Env());
      entry.Set("identity", memories[i].identity);
      entry.Set("size", Napi::Number::New(info.Env(), static_cast<double>(memories[i].size)));
      list.Set(i, entry);
    }
    return list;
  }

  // openMemory(index) → read-only fd; the file's mode becomes 0600, which keeps other users out.
  Napi::Value OpenMemory(const Napi::CallbackInfo &info) {
    const auto index = static_cast<size_t>(Unsigned(info[0]));
    if (index >= memory(info.Env())->memories().size()) {
      throw Napi::RangeError::New(info.Env(), "openMemory: no such memory");
    }
    const int fd = memory(info.Env())->memories()[index].fd;
    // Fails for another user's file, whose mode is that user's decision, and for memory without a
    // name, whose mode does not matter.
    [[maybe_unused]] const int changed = fchmod(fd, S_IRUSR | S_IWUSR);
    return DescriptorOrError(info.Env(), platform::ReopenReadOnly(fd),
                             "reopening a memory read-only");
  }

  std::shared_ptr<const GuestMemory> memory_;
};

class VirtqueueObject : public Napi::ObjectWrap<VirtqueueObject> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Virtqueue",
                       {InstanceMethod<&VirtqueueObject::Rebind>("rebind"),
                        InstanceMethod<&VirtqueueObject::Pending>("pending"),
                        InstanceMethod<&VirtqueueObject::Pop>("pop"),
                        InstanceMethod<&VirtqueueObject::Push>("push"),
                        InstanceMethod<&VirtqueueObject::TakeNotification>("takeNotification"),
                        InstanceMethod<&VirtqueueObject::EnableKicks>("enableKicks"),
                        InstanceMethod<&VirtqueueObject::NextAvailable>("nextAvailable"),
                        InstanceMethod<&VirtqueueObject::Close>("close")});
  }

  // new Virtqueue(memory, {size, descriptors, available, used, base, eventIndex, indirect})
  explicit VirtqueueObject(const Napi::CallbackInfo &info)
      : Napi::ObjectWrap<VirtqueueObject>(info) {
    const auto setup = info[1].As<Napi::Object>();
    VirtqueueSetup native{};
    native.size = setup.Get("size").As<Napi::Number>().Uint32Value();
    native.descriptors = Unsigned(setup.Get("descriptors"));
    native.available = Unsigned(setup.Get("available"));
    native.used = Unsigned(setup.Get("used"));
    native.base = static_cast<uint16_t>(Unsigned(setup.Get("base")));
    native.event_index = setup.Get("eventIndex").ToBoolean();
    native.indirect = setup.Get("indirect").ToBoolean();
    queue_ =
        Translated(info.Env(), [&] { return std::make_unique<Virtqueue>(Memory(info), native); });
  }

 private:
  static std::shared_ptr<const GuestMemory> Memory(const Napi::CallbackInfo &info) {
    return GuestMemoryObject::Unwrap(info[0].As<Napi::Object>())->memory(info.Env());
  }

  Virtqueue &queue(Napi::Env env) const {
    if (!queue_) throw Napi::Error::New(env, "the virtqueue is closed");
    return *queue_;
  }

  // close(): releases the memory.
  void Close(const Napi::CallbackInfo &) { queue_.reset(); }

  void Rebind(const Napi::CallbackInfo &info) {
    Translated(info.Env(), [&] { queue(info.Env()).Rebind(Memory(info)); });
  }

  Napi::Value Pending(const Napi::CallbackInfo &info) {
    return Napi::Number::New(info.Env(), queue(info.Env()).Pending());
  }

  // pop(maxReadable) → null, or {kind: "chain", head, readable, readableLength, writableLength},
  // {kind: "fault", head, reason} or {kind: "broken", reason}.
  Napi::Value Pop(const Napi::CallbackInfo &info) {
    const Napi::Env env = info.Env();
    const Virtqueue::PopResult popped =
        queue(info.Env()).Pop(static_cast<size_t>(Unsigned(info[0])));
    if (popped.kind == Virtqueue::PopKind::kEmpty) return env.Null();
    auto result = Napi::Object::New(env);
    if (popped.kind == Virtqueue::PopKind::kBroken) {
      result.Set("kind", "broken");
      result.Set("reason", popped.fault);
      return result;
    }
    result.Set("head", Napi::Number::New(env, popped.head));
    if (popped.kind == Virtqueue::PopKind::kFault) {
      result.Set("kind", "fault");
      result.Set("reason", popped.fault);
      return result;
    }
    result.Set("kind", "chain");
    result.Set("readable",
               Napi::Buffer<uint8_t>::Copy(env, popped.readable.data(), popped.readable.size()));
    result.Set("readableLength",
               Napi::Number::New(env, static_cast<double>(popped.readable_length)));
    result.Set("writableLength",
               Napi::Number::New(env, static_cast<double>(popped.writable_length)));
    return result;
  }

  // push(head, response) → false if the room for the response is outside the memory.
  Napi::Value Push(const Napi::CallbackInfo &info) {
    const auto answer = info[1].As<Napi::Uint8Array>();
    const auto head = static_cast<uint16_t>(Unsigned(info[0]));
    return Napi::Boolean::New(info.Env(),
                              queue(info.Env()).Push(head, answer.Data(), answer.ByteLength()));
  }

  Napi::Value TakeNotification(const Napi::CallbackInfo &info) {
    return Napi::Boolean::New(info.Env(), queue(info.Env()).TakeNotification());
  }

  Napi::Value EnableKicks(const Napi::CallbackInfo &info) {
    return Napi::Boolean::New(info.Env(), queue(info.Env()).EnableKicks());
  }

  Napi::Value NextAvailable(const Napi::CallbackInfo &info) {
    return Napi::Number::New(info.Env(), queue(info.Env()).next_available());
  }

  std::unique_ptr<Virtqueue> queue_;
};

// createMemory(name, size) → fd
Napi::Value Create(const Napi::CallbackInfo &info) {
  const std::string name = info[0].As<Napi::String>().Utf8Value();
  return DescriptorOrError(info.Env(), platform::CreateMemory(name, Unsigned(info[1])),
                           "creating a memory");
}

// reopenReadOnly(fd) → fd
Napi::Value Reopen(const Napi::CallbackInfo &info) {
  const int fd = info[0].As<Napi::Number>().Int32Value();
  return DescriptorOrError(info.Env(), platform::ReopenReadOnly(fd),
                           "reopening a memory read-only");
}

// writeMemory(fd, offset, bytes)
void WriteBytes(const Napi::CallbackInfo &info) {
  const auto bytes = info[2].As<Napi::Uint8Array>();
  Translated(info.Env(), [&] {
    WriteMemory(info[0].As<Napi::Number>().Int32Value(), Unsigned(info[1]), bytes.Data(),
                bytes.ByteLength());
  });
}

// duplicate(fd) → fd
Napi::Value Duplicate(const Napi::CallbackInfo &info) {
  const int fd = info[0].As<Napi::Number>().Int32Value();
  return DescriptorOrError(info.Env(), fcntl(fd, F_DUPFD_CLOEXEC, 0), "duplicating a descriptor");
}

// status(fd) → {identity, size}. Where the system does not identify memories, every result has an
// identity of its own.
Napi::Value Status(const Napi::CallbackInfo &info) {
  static std::atomic<uint64_t> unknown{0};
  platform::MemoryStatus status;
  if (platform::StatusOf(info[0].As<Napi::Number>().Int32Value(), &status) != 0) {
    throw SystemError(info.Env(), "fstat", errno);
  }
  auto result = Napi::Object::New(info.Env());
  result.Set("identity",
             status.identity.empty() ? "unknown:" + std::to_string(unknown++) : status.identity);
  result.Set("size", Napi::Number::New(info.Env(), static_cast<double>(status.size)));
  return result;
}

}  // namespace

void RegisterMemory(Napi::Env env, Napi::Object exports) {
  exports.Set("GuestMemory", GuestMemoryObject::Define(env));
  exports.Set("Virtqueue", VirtqueueObject::Define(env));
  exports.Set("createMemory", Napi::Function::New(env, Create));
  exports.Set("writeMemory", Napi::Function::New(env, WriteBytes));
  exports.Set("reopenReadOnly", Napi::Function::New(env, Reopen));
  exports.Set("duplicate", Napi::Function::New(env, Duplicate));
  exports.Set("status", Napi::Function::New(env, Status));
}

}  // namespace vsockenc
