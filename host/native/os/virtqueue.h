// The device's side of a split virtqueue (virtio 1.2, 2.7) in guest memory. Plain C++, so that
// tests can compile it alone.
//
// The driver is hostile: each index and address is read once, checked, and used from the copy. An
// invalid chain affects only itself (kFault: give its head back with Push); an invalid ring
// (kBroken) stops the queue until it is set up again. Indices are free-running 16-bit counters.
#pragma once

#include <memory>

#include "guest_memory.h"

namespace vsockenc {

struct VirtqueueSetup {
  // Entries: a power of two, at most 32768.
  uint32_t size;
  // In QEMU's virtual addresses.
  uint64_t descriptors;
  uint64_t available;
  uint64_t used;
  // Next entry of the available ring to take.
  uint16_t base;
  // As negotiated, not as offered.
  bool event_index;
  bool indirect;
};

class Virtqueue {
 public:
  // One chain has no more descriptors than this, those of an indirect table included.
  static constexpr size_t kMaxChain = 4096;

  enum class PopKind { kEmpty, kChain, kFault, kBroken };
  struct PopResult {
    PopKind kind = PopKind::kEmpty;
    uint16_t head = 0;
    // The first bytes of the driver's part, at most the bound given to Pop.
    std::vector<uint8_t> readable;
    // All of the driver's part, and the room for a response, in bytes.
    uint64_t readable_length = 0;
    uint64_t writable_length = 0;
    std::string fault;
  };

  // Throws std::runtime_error if the rings do not lie in memory or are not aligned.
  Virtqueue(std::shared_ptr<const GuestMemory> memory, const VirtqueueSetup &setup);

  // The same rings in a new mapping of the memory; chains in flight stay so. Throws likewise.
  void Rebind(std::shared_ptr<const GuestMemory> memory);

  // Entries the driver has made available and Pop has not taken; more than size(): kBroken follows.
  uint16_t Pending() const;
  PopResult Pop(size_t max_readable);

  // Gives a chain back with a response, cut to the room there is. False if the head is not in
  // flight or the room is outside the memory (the chain goes back without a response).
  bool Push(uint16_t head, const uint8_t *response, size_t length);

  // Whether the driver wants a notification of what was pushed since the last call. 2.7.10.
  bool TakeNotification();

  // Asks for a kick at the next available entry. True if entries came meanwhile. 2.7.10.
  bool EnableKicks();

  uint16_t next_available() const { return next_available_; }
  uint32_t size() const { return setup_.size; }

 private:
  struct Segment {
    uint64_t address;
    uint32_t length;
  };
  struct Chain {
    bool in_flight = false;
    std::vector<Segment> writable;
  };

  void Locate();
  bool Walk(uint16_t head, size_t max_readable, Chain *chain, PopResult *result) const;
  PopResult Broken(const char *why);

  std::shared_ptr<const GuestMemory> memory_;
  VirtqueueSetup setup_;
  uint8_t *descriptors_ = nullptr;
  uint8_t *available_ = nullptr;
  uint8_t *used_ = nullptr;
  std::vector<Chain> chains_;
  uint16_t next_available_;
  uint16_t next_used_;
  uint16_t signalled_used_;
  // No used_event was compared yet, so signalled_used_ means nothing.
  bool signalled_valid_ = false;
  bool broken_ = false;
};

}  // namespace vsockenc
