#include "virtqueue.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace vsockenc {

namespace {

static_assert(std::endian::native == std::endian::little,
              "virtio rings are little-endian, and are read as they are");

// Layout of the rings, virtio 1.2, 2.7.5 to 2.7.8.
constexpr uint32_t kMaxQueueSize = 32768;
constexpr size_t kDescriptorBytes = 16;
constexpr uint16_t kDescriptorNext = 1;
constexpr uint16_t kDescriptorWrite = 2;
constexpr uint16_t kDescriptorIndirect = 4;
constexpr size_t kRingFlags = 0;
constexpr size_t kRingIndex = 2;
constexpr size_t kRingEntries = 4;
constexpr size_t kUsedEntryBytes = 8;
constexpr uint16_t kAvailableNoInterrupt = 1;

struct RawDescriptor {
  uint64_t address;
  uint32_t length;
  uint16_t flags;
  uint16_t next;
};
static_assert(sizeof(RawDescriptor) == kDescriptorBytes);

// Shared with the driver: every access is atomic, so that the compiler cannot read twice. (The
// compilers' own operations, because libc++ has std::atomic_ref only since LLVM 19.)
template <typename T>
T Load(const uint8_t *at, int order = __ATOMIC_RELAXED) {
  return __atomic_load_n(reinterpret_cast<const T *>(at), order);
}

template <typename T>
void Store(uint8_t *at, T value, int order = __ATOMIC_RELAXED) {
  __atomic_store_n(reinterpret_cast<T *>(at), value, order);
}

RawDescriptor LoadDescriptor(const uint8_t *at) {
  const std::array<uint64_t, 2> halves = {Load<uint64_t>(at),
                                          Load<uint64_t>(at + sizeof(uint64_t))};
  return std::bit_cast<RawDescriptor>(halves);
}

bool Aligned(const uint8_t *pointer, size_t alignment) {
  return reinterpret_cast<uintptr_t>(pointer) % alignment == 0;
}

}  // namespace

Virtqueue::Virtqueue(std::shared_ptr<const GuestMemory> memory, const VirtqueueSetup &setup)
    : memory_(std::move(memory)),
      setup_(setup),
      next_available_(setup.base),
      next_used_(setup.base),
      signalled_used_(setup.base) {
  if (setup.size == 0 || setup.size > kMaxQueueSize || !std::has_single_bit(setup.size)) {
    throw std::runtime_error("a queue's size must be a power of two up to 32768");
  }
  Locate();
  chains_.resize(setup.size);
  // `base` is the next available entry; chains may have been given back out of order, so the used
  // ring continues at its own index.
  next_used_ = Load<uint16_t>(used_ + kRingIndex);
  signalled_used_ = next_used_;
}

void Virtqueue::Rebind(std::shared_ptr<const GuestMemory> memory) {
  std::swap(memory_, memory);
  try {
    Locate();
  } catch (...) {
    std::swap(memory_, memory);
    throw;
  }
}

void Virtqueue::Locate() {
  const uint64_t size = setup_.size;
  // Both rings end with the event index of the other direction (2.7.6, 2.7.8).
  uint8_t *descriptors = memory_->AtUser(setup_.descriptors, size * kDescriptorBytes);
  uint8_t *available =
      memory_->AtUser(setup_.available, kRingEntries + size * sizeof(uint16_t) + sizeof(uint16_t));
  uint8_t *used =
      memory_->AtUser(setup_.used, kRingEntries + size * kUsedEntryBytes + sizeof(uint16_t));
  if (descriptors == nullptr || available == nullptr || used == nullptr) {
    throw std::runtime_error("a queue's rings do not lie in the guest's memory");
  }
  if (!Aligned(descriptors, 16) || !Aligned(available, 2) || !Aligned(used, 4)) {
    throw std::runtime_error("a queue's rings are not aligned");
  }
  descriptors_ = descriptors;
  available_ = available;
  used_ = used;
}

uint16_t Virtqueue::Pending() const {
  if (broken_) return 0;
  // Acquire: the entries and descriptors behind the index are visible after it.
  const auto index = Load<uint16_t>(available_ + kRingIndex, __ATOMIC_ACQUIRE);
  return static_cast<uint16_t>(index - next_available_);
}

Virtqueue::PopResult Virtqueue::Broken(const char *why) {
  broken_ = true;
  PopResult result;
  result.kind = PopKind::kBroken;
  result.fault = why;
  return result;
}

Virtqueue::PopResult Virtqueue::Pop(size_t max_readable) {
  PopResult result;
  const uint16_t pending = Pending();
  if (pending == 0) return result;
  if (pending > setup_.size) return Broken("the available index is ahead by more than the ring");

  const size_t slot = next_available_ & (setup_.size - 1);
  const auto head = Load<uint16_t>(available_ + kRingEntries + slot * sizeof(uint16_t));
  if (head >= setup_.size) return Broken("an available entry is outside the descriptor table");
  Chain &chain = chains_[head];
  if (chain.in_flight) return Broken("a chain was made available twice");

  next_available_++;
  chain.in_flight = true;
  chain.writable.clear();
  result.head = head;
  result.kind = Walk(head, max_readable, &chain, &result) ? PopKind::kChain : PopKind::kFault;
  return result;
}

bool Virtqueue::Walk(uint16_t head, size_t max_readable, Chain *chain, PopResult *result) const {
  const auto fault = [result, chain](const char *why) {
    result->fault = why;
    chain->writable.clear();
    return false;
  };
  const auto direct = [this](uint16_t index) {
    return LoadDescriptor(descriptors_ + index * kDescriptorBytes);
  };

  std::vector<uint8_t> table;
  size_t entries = setup_.size;
  size_t visited = 0;
  RawDescriptor raw = direct(head);
  while (true) {
    if (++visited > std::min(entries, kMaxChain)) return fault("a chain loops or is too long");
    if ((raw.flags & kDescriptorIndirect) != 0) {
      if (!setup_.indirect) return fault("an indirect descriptor was not negotiated");
      if (!table.empty()) return fault("an indirect table names an indirect table");
      if ((raw.flags & kDescriptorNext) != 0) return fault("an indirect descriptor has a next");
      if (raw.length == 0 || raw.length % kDescriptorBytes != 0 ||
          raw.length / kDescriptorBytes > kMaxChain) {
        return fault("an indirect table has a wrong size");
      }
      table.resize(raw.length);
      if (!memory_->Read(raw.address, table.data(), table.size())) {
        return fault("an indirect table lies outside memory");
      }
      entries = table.size() / kDescriptorBytes;
      visited = 0;
      std::memcpy(&raw, table.data(), sizeof raw);
      continue;
    }
    if ((raw.flags & kDescriptorWrite) != 0) {
      chain->writable.push_back({raw.address, raw.length});
      result->writable_length += raw.length;
    } else {
      if (!chain->writable.empty()) return fault("a readable descriptor follows a writable one");
      const size_t have = result->readable.size();
      const size_t take = std::min<size_t>(raw.length, max_readable - have);
      result->readable.resize(have + take);
      if (!memory_->Read(raw.address, result->readable.data() + have, take)) {
        return fault("a chain's bytes lie outside memory");
      }
      result->readable_length += raw.length;
    }
    if ((raw.flags & kDescriptorNext) == 0) return true;
    if (raw.next >= entries) return fault("a descriptor's next is outside the table");
    if (table.empty()) {
      raw = direct(raw.next);
    } else {
      std::memcpy(&raw, table.data() + raw.next * kDescriptorBytes, sizeof raw);
    }
  }
}

bool Virtqueue::Push(uint16_t head, const uint8_t *response, size_t length) {
  if (head >= setup_.size || !chains_[head].in_flight) return false;
  Chain &chain = chains_[head];
  size_t written = 0;
  bool stored = true;
  for (const Segment &segment : chain.writable) {
    if (written == length) break;
    const size_t part = std::min<size_t>(segment.length, length - written);
    if (!memory_->Write(segment.address, response + written, part)) {
      stored = false;
      break;
    }
    written += part;
  }
  chain.in_flight = false;
  chain.writable.clear();

  uint8_t *entry = used_ + kRingEntries + (next_used_ & (setup_.size - 1)) * kUsedEntryBytes;
  Store<uint32_t>(entry, head);
  Store<uint32_t>(entry + sizeof(uint32_t), static_cast<uint32_t>(written));
  next_used_++;
  // Release: the response and the entry are visible before the index.
  Store<uint16_t>(used_ + kRingIndex, next_used_, __ATOMIC_RELEASE);
  return stored;
}

bool Virtqueue::TakeNotification() {
  // The driver's request must be read after our index is visible, or both sides could wait for
  // ever.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const uint16_t before = std::exchange(signalled_used_, next_used_);
  const bool valid = std::exchange(signalled_valid_, true);
  if (before == next_used_) return false;
  if (!setup_.event_index) {
    return (Load<uint16_t>(available_ + kRingFlags) & kAvailableNoInterrupt) == 0;
  }
  if (!valid) return true;
  const auto wanted = Load<uint16_t>(available_ + kRingEntries + setup_.size * sizeof(uint16_t));
  const auto behind = static_cast<uint16_t>(next_used_ - wanted - 1);
  return behind < static_cast<uint16_t>(next_used_ - before);
}

bool Virtqueue::EnableKicks() {
  if (broken_) return false;
  if (setup_.event_index) {
    Store<uint16_t>(used_ + kRingEntries + setup_.size * kUsedEntryBytes, next_available_);
  }
  // The request must be visible before the index is read again.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return Pending() != 0;
}

}  // namespace vsockenc
