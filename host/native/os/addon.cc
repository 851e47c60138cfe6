// The addon: GuestMemory and Virtqueue as JavaScript classes, and the functions of shareable
// memory. Bytes are always copied; no ArrayBuffer refers to guest memory.
#include <fcntl.h>
#include <sys/stat.h>

#include <atomic>
#include <optional>
#include <vector>

#include "addon.h"
#include "virtqueue.h"

namespace vsockenc {

namespace {

// Longest copy out of guest memory in one call.
constexpr uint64_t kMaxRead = uint64_t{64} << 20;

uint64_t Field(const Napi::Object &object, const char *name) {
  return Argument<uint64_t>(object.Get(name));
}

Napi::Object Status(Napi::Env env, const std::string &identity, uint64_t size) {
  auto status = Napi::Object::New(env);
  status.Set("identity", identity);
  status.Set("size", static_cast<double>(size));
  return status;
}

// new GuestMemory([{guestAddress, size, userAddress, fileOffset}], [fd]); owns the descriptors.
std::shared_ptr<const GuestMemory> CreateGuestMemory(const Napi::CallbackInfo &info) {
  const auto list = info[0].As<Napi::Array>();
  const auto fds = info[1].As<Napi::Array>();
  std::vector<Descriptor> descriptors;
  for (uint32_t i = 0; i < fds.Length(); i++) descriptors.emplace_back(Argument<int>(fds.Get(i)));
  std::vector<RegionDescription> regions;
  for (uint32_t i = 0; i < list.Length(); i++) {
    const auto region = list.Get(i).As<Napi::Object>();
    regions.push_back({Field(region, "guestAddress"), Field(region, "size"),
                       Field(region, "userAddress"), Field(region, "fileOffset")});
  }
  return std::make_shared<const GuestMemory>(std::move(regions), std::move(descriptors));
}

// read(address, length) → Buffer, or null if part is outside.
std::optional<Napi::Value> Read(const GuestMemory &memory, Napi::Env env, uint64_t address,
                                uint64_t length) {
  if (length > kMaxRead) throw Napi::RangeError::New(env, "read: too long");
  auto buffer = Napi::Buffer<uint8_t>::New(env, static_cast<size_t>(length));
  if (!memory.Read(address, buffer.Data(), length)) return std::nullopt;
  return buffer;
}

// write(address, bytes) → whether all of it lies in memory.
bool Write(const GuestMemory &memory, Napi::Env, uint64_t address, Napi::Uint8Array bytes) {
  return memory.Write(address, bytes.Data(), bytes.ByteLength());
}

// translate([address, length, …], limit) → Float64Array [memory, offset, length, …], or null.
std::optional<Napi::Value> Translate(const GuestMemory &memory, Napi::Env env,
                                     Napi::Float64Array list, size_t limit) {
  std::vector<AddressRange> ranges;
  ranges.reserve(list.ElementLength() / 2);
  for (size_t i = 0; i + 1 < list.ElementLength(); i += 2) {
    ranges.push_back({static_cast<uint64_t>(list[i]), static_cast<uint64_t>(list[i + 1])});
  }
  std::vector<FileRange> found;
  if (!memory.Translate(ranges, limit, &found)) return std::nullopt;
  auto result = Napi::Float64Array::New(env, found.size() * 3);
  for (size_t i = 0; i < found.size(); i++) {
    result[i * 3] = static_cast<double>(found[i].memory);
    result[i * 3 + 1] = static_cast<double>(found[i].offset);
    result[i * 3 + 2] = static_cast<double>(found[i].length);
  }
  return result;
}

// memories() → [{identity, size}], in the order of translate's indices.
Napi::Value Memories(const GuestMemory &memory, Napi::Env env) {
  auto list = Napi::Array::New(env);
  for (const auto &[identity, size, fd] : memory.memories()) {
    list.Set(list.Length(), Status(env, identity, size));
  }
  return list;
}

// openMemory(index) → read-only fd; the file's mode becomes 0600, which keeps other users out.
Descriptor OpenMemory(const GuestMemory &memory, Napi::Env, size_t index) {
  const int fd = memory.memories().at(index).fd;
  // Fails for another user's file, whose mode is that user's decision, and for memory without a
  // name, whose mode does not matter.
  [[maybe_unused]] const int changed = fchmod(fd, S_IRUSR | S_IWUSR);
  return Descriptor(Check(platform::ReopenReadOnly(fd), "reopening a memory read-only"));
}

using MemoryClass = Wrapper<const GuestMemory, CreateGuestMemory>;

const std::shared_ptr<const GuestMemory> &MemoryOf(const Napi::Value &object) {
  return MemoryClass::Unwrap(object.As<Napi::Object>())->held();
}

// new Virtqueue(memory, {size, descriptors, available, used, base, eventIndex, indirect})
std::shared_ptr<Virtqueue> CreateVirtqueue(const Napi::CallbackInfo &info) {
  const auto setup = info[1].As<Napi::Object>();
  return std::make_shared<Virtqueue>(MemoryOf(info[0]),
                                     VirtqueueSetup{
                                         .size = static_cast<uint32_t>(Field(setup, "size")),
                                         .descriptors = Field(setup, "descriptors"),
                                         .available = Field(setup, "available"),
                                         .used = Field(setup, "used"),
                                         .base = static_cast<uint16_t>(Field(setup, "base")),
                                         .event_index = setup.Get("eventIndex").ToBoolean(),
                                         .indirect = setup.Get("indirect").ToBoolean(),
                                     });
}

void Rebind(Virtqueue &queue, Napi::Env, Napi::Object memory) {
  queue.Rebind(MemoryOf(memory));
}

uint16_t Pending(Virtqueue &queue, Napi::Env) {
  return queue.Pending();
}

// pop(maxReadable) → null, or {kind: "chain", head, readable, readableLength, writableLength},
// {kind: "fault", head, reason} or {kind: "broken", reason}.
std::optional<Napi::Value> Pop(Virtqueue &queue, Napi::Env env, size_t max_readable) {
  const Virtqueue::PopResult popped = queue.Pop(max_readable);
  if (popped.kind == Virtqueue::PopKind::kEmpty) return std::nullopt;
  auto result = Napi::Object::New(env);
  if (popped.kind != Virtqueue::PopKind::kBroken)
    result.Set("head", static_cast<double>(popped.head));
  if (popped.kind != Virtqueue::PopKind::kChain) {
    result.Set("kind", popped.kind == Virtqueue::PopKind::kFault ? "fault" : "broken");
    result.Set("reason", popped.fault);
    return result;
  }
  result.Set("kind", "chain");
  result.Set("readable",
             Napi::Buffer<uint8_t>::Copy(env, popped.readable.data(), popped.readable.size()));
  result.Set("readableLength", static_cast<double>(popped.readable_length));
  result.Set("writableLength", static_cast<double>(popped.writable_length));
  return result;
}

// push(head, response) → false if the room for the response is outside the memory.
bool Push(Virtqueue &queue, Napi::Env, uint16_t head, Napi::Uint8Array response) {
  return queue.Push(head, response.Data(), response.ByteLength());
}

bool TakeNotification(Virtqueue &queue, Napi::Env) {
  return queue.TakeNotification();
}

bool EnableKicks(Virtqueue &queue, Napi::Env) {
  return queue.EnableKicks();
}

uint16_t NextAvailable(Virtqueue &queue, Napi::Env) {
  return queue.next_available();
}

using QueueClass = Wrapper<Virtqueue, CreateVirtqueue>;

Descriptor CreateMemory(Napi::Env, const std::string &name, uint64_t size) {
  return Descriptor(Check(platform::CreateMemory(name, size), "creating a memory"));
}

Descriptor ReopenReadOnly(Napi::Env, int fd) {
  return Descriptor(Check(platform::ReopenReadOnly(fd), "reopening a memory read-only"));
}

void WriteBytes(Napi::Env, int fd, uint64_t offset, Napi::Uint8Array bytes) {
  WriteMemory(fd, offset, bytes.Data(), bytes.ByteLength());
}

Descriptor Duplicate(Napi::Env, int fd) {
  return Descriptor(Check(fcntl(fd, F_DUPFD_CLOEXEC, 0), "duplicating a descriptor"));
}

// Where the system does not identify memories, every result has an identity of its own.
Napi::Value StatusOf(Napi::Env env, int fd) {
  static std::atomic<uint64_t> unknown{0};
  platform::MemoryStatus status;
  Check(platform::StatusOf(fd, &status), "fstat");
  if (status.identity.empty()) status.identity = "unknown:" + std::to_string(unknown++);
  return Status(env, status.identity, status.size);
}

Napi::Object Initialize(Napi::Env env, Napi::Object exports) {
  RegisterPoller(exports);
  RegisterSockets(exports);
  RegisterSystemCalls(exports);
  exports.Set("GuestMemory",
              MemoryClass::DefineClass(env, "GuestMemory",
                                       {
                                           MemoryClass::Method<Read>("read"),
                                           MemoryClass::Method<Write>("write"),
                                           MemoryClass::Method<Translate>("translate"),
                                           MemoryClass::Method<Memories>("memories"),
                                           MemoryClass::Method<OpenMemory>("openMemory"),
                                           MemoryClass::CloseMethod(),
                                       }));
  exports.Set("Virtqueue",
              QueueClass::DefineClass(env, "Virtqueue",
                                      {
                                          QueueClass::Method<Rebind>("rebind"),
                                          QueueClass::Method<Pending>("pending"),
                                          QueueClass::Method<Pop>("pop"),
                                          QueueClass::Method<Push>("push"),
                                          QueueClass::Method<TakeNotification>("takeNotification"),
                                          QueueClass::Method<EnableKicks>("enableKicks"),
                                          QueueClass::Method<NextAvailable>("nextAvailable"),
                                          QueueClass::CloseMethod(),
                                      }));
  Export(exports, "createMemory", CreateMemory);
  Export(exports, "writeMemory", WriteBytes);
  Export(exports, "reopenReadOnly", ReopenReadOnly);
  Export(exports, "duplicateDescriptor", Duplicate);
  Export(exports, "memoryStatus", StatusOf);
  return exports;
}

NODE_API_MODULE(os, Initialize)

}  // namespace

}  // namespace vsockenc
