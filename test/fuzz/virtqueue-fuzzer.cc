// Rings, descriptors and tables of a hostile driver. The input is eight bytes of setup and the
// guest's first page, in which all rings lie; a second page is at 4 GiB. Between and around them
// are guards that nothing may touch. Layout: see Setup and k* below; fuzz.ts writes seeds in it.

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "../platform/platform.h"
#include "guest_memory.h"
#include "virtqueue.h"

namespace {

using vsockenc::Descriptor;
using vsockenc::GuestMemory;
using vsockenc::Virtqueue;

constexpr uint64_t kPage = 4096;
// File: guard, low page, guard, high page, guard.
constexpr uint64_t kFile = 5 * kPage;
constexpr uint64_t kHigh = uint64_t{1} << 32;
constexpr uint64_t kUser = uint64_t{1} << 40;
constexpr uint64_t kAvailable = 256;
constexpr uint64_t kUsed = 512;
constexpr uint8_t kGuard = 0xa5;

struct Setup {
  // Entries: 1 << (size % 5).
  uint8_t size;
  // Bit 0: EVENT_IDX, 1: INDIRECT, 2: chains are given back in the end, in reverse order.
  uint8_t flags;
  uint16_t base;
  uint16_t max_readable;
  uint16_t answer;
};
static_assert(sizeof(Setup) == 8);

void Require(bool truth) {
  if (!truth) std::abort();
}

struct World {
  World() : memory_fd(vsockenc::platform::CreateMemory("fuzz", kFile)) {
    void *mapped = mmap(nullptr, kFile, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd.get(), 0);
    Require(mapped != MAP_FAILED);
    file = static_cast<uint8_t *>(mapped);
    std::memset(file, kGuard, kFile);
    std::vector<Descriptor> descriptors;
    descriptors.emplace_back(dup(memory_fd.get()));
    descriptors.emplace_back(dup(memory_fd.get()));
    memory = std::make_shared<const GuestMemory>(
        std::vector<vsockenc::RegionDescription>{{0, kPage, kUser, kPage},
                                                 {kHigh, kPage, kUser + 2 * kPage, 3 * kPage}},
        std::move(descriptors));
  }

  void CheckGuards() const {
    for (const uint64_t page : {0, 2, 4}) {
      const uint8_t *guard = file + page * kPage;
      // Each byte as the one before it: a loop here would take longer than what is tested.
      Require(guard[0] == kGuard && std::memcmp(guard, guard + 1, kPage - 1) == 0);
    }
  }

  Descriptor memory_fd;
  uint8_t *file = nullptr;
  std::shared_ptr<const GuestMemory> memory;
};

void Run(const World &world, const Setup &setup) {
  const uint32_t size = 1u << (setup.size % 5);
  Virtqueue queue(world.memory, {size, kUser, kUser + kAvailable, kUser + kUsed, setup.base,
                                 (setup.flags & 1) != 0, (setup.flags & 2) != 0});
  const std::vector<uint8_t> answer(setup.answer % 4096, 0x11);
  std::vector<uint16_t> held;
  for (uint32_t step = 0; step < 2 * size; step++) {
    const Virtqueue::PopResult popped = queue.Pop(setup.max_readable);
    if (popped.kind == Virtqueue::PopKind::kEmpty) break;
    if (popped.kind == Virtqueue::PopKind::kBroken) {
      Require(queue.Pending() == 0);
      break;
    }
    Require(popped.readable.size() <= setup.max_readable);
    Require(popped.head < size);
    if ((setup.flags & 4) != 0) {
      held.push_back(popped.head);
    } else {
      queue.Push(popped.head, answer.data(), answer.size());
      Require(!queue.Push(popped.head, answer.data(), answer.size()));
    }
    queue.TakeNotification();
    queue.EnableKicks();
  }
  queue.Rebind(world.memory);
  for (; !held.empty(); held.pop_back()) queue.Push(held.back(), answer.data(), answer.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const World world;
  if (size < sizeof(Setup)) return 0;
  Setup setup;
  std::memcpy(&setup, data, sizeof setup);
  uint8_t *low = world.file + kPage;
  std::memset(low, 0, kPage);
  std::memset(world.file + 3 * kPage, 0, kPage);
  std::memcpy(low, data + sizeof setup, std::min<size_t>(size - sizeof setup, kPage));
  Run(world, setup);
  world.CheckGuards();
  return 0;
}
