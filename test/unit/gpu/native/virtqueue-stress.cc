// A hostile driver: rings and descriptors of random bytes, biased towards what is nearly right, are
// popped and pushed until nothing is left. The sanitizers judge; besides, what is outside the
// memory's regions must stay untouched. Usage: virtqueue-stress ROUNDS SEED

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#include "../platform/platform.h"
#include "guest_memory.h"
#include "virtqueue.h"

namespace {

using vsockenc::Descriptor;
using vsockenc::GuestMemory;
using vsockenc::Virtqueue;

constexpr uint64_t kRegion = 1 << 16;
// File: guard, low region, guard, high region, guard.
constexpr uint64_t kFile = 5 * kRegion;
constexpr uint64_t kLow = 0;
constexpr uint64_t kHigh = uint64_t{1} << 32;
constexpr uint64_t kUser = uint64_t{1} << 40;
constexpr uint8_t kGuard = 0xa5;

class Driver {
 public:
  explicit Driver(uint64_t seed) : random_(seed) {}

  uint64_t Below(uint64_t bound) {
    return std::uniform_int_distribution<uint64_t>(0, bound - 1)(random_);
  }
  bool Chance(uint64_t in) { return Below(in) == 0; }

  uint64_t Address() {
    if (Chance(8)) return random_();
    const uint64_t base = Chance(2) ? kLow : kHigh;
    return base + (Chance(4) ? kRegion - Below(64) : Below(kRegion));
  }

  uint32_t Length() {
    if (Chance(8)) return static_cast<uint32_t>(random_());
    return static_cast<uint32_t>(Chance(3) ? Below(8) * 16 : Below(512));
  }

  void WriteDescriptor(uint8_t *at, uint32_t entries) {
    const uint64_t address = Address();
    const uint32_t length = Length();
    const auto flags = static_cast<uint16_t>(Chance(16) ? random_() : Below(6));
    const auto next = static_cast<uint16_t>(Chance(16) ? random_() : Below(entries));
    std::memcpy(at, &address, 8);
    std::memcpy(at + 8, &length, 4);
    std::memcpy(at + 12, &flags, 2);
    std::memcpy(at + 14, &next, 2);
  }

 private:
  std::mt19937_64 random_;
};

void Check(bool truth, const char *what) {
  if (truth) return;
  std::fprintf(stderr, "failed: %s\n", what);
  std::abort();
}

struct Counts {
  size_t chains = 0;
  size_t faults = 0;
  size_t broken = 0;
};

void Round(Driver &driver, uint8_t *file, int fd, Counts *counts) {
  std::vector<Descriptor> descriptors;
  descriptors.emplace_back(dup(fd));
  descriptors.emplace_back(dup(fd));
  auto memory = std::make_shared<const GuestMemory>(
      std::vector<vsockenc::RegionDescription>{{kLow, kRegion, kUser, kRegion},
                                               {kHigh, kRegion, kUser + 2 * kRegion, 3 * kRegion}},
      std::move(descriptors));
  uint8_t *low = file + kRegion;
  const uint32_t size = 1u << driver.Below(8);
  for (uint64_t at = 0; at < kRegion; at += 16) {
    driver.WriteDescriptor(low + at, size);
    driver.WriteDescriptor(file + 3 * kRegion + at, size);
  }
  const uint64_t available = 0x4000;
  const uint64_t used = 0x6000;
  for (uint32_t i = 0; i < size; i++) {
    const auto head = static_cast<uint16_t>(driver.Chance(64) ? size + i : driver.Below(size));
    std::memcpy(low + available + 4 + i * 2, &head, 2);
  }
  const auto base = static_cast<uint16_t>(driver.Below(65536));
  const auto index =
      static_cast<uint16_t>(base + driver.Below(driver.Chance(8) ? 65536 : size + 1));
  std::memcpy(low + available + 2, &index, 2);

  Virtqueue queue(memory, {size, kUser, kUser + available, kUser + used, base, driver.Chance(2),
                           !driver.Chance(4)});
  std::vector<uint16_t> held;
  const std::vector<uint8_t> answer(driver.Below(4096), 0x11);
  for (uint32_t step = 0; step < 2 * size; step++) {
    const Virtqueue::PopResult popped = queue.Pop(driver.Below(8192));
    if (popped.kind == Virtqueue::PopKind::kEmpty) break;
    if (popped.kind == Virtqueue::PopKind::kBroken) {
      counts->broken++;
      Check(queue.Pending() == 0, "a broken queue has nothing");
      break;
    }
    Check(popped.readable.size() <= 8192, "the bound of Pop");
    (popped.kind == Virtqueue::PopKind::kChain ? counts->chains : counts->faults)++;
    if (driver.Chance(4)) {
      held.push_back(popped.head);
    } else {
      queue.Push(popped.head, answer.data(), answer.size());
      Check(!queue.Push(popped.head, answer.data(), answer.size()), "a chain is given back once");
    }
    queue.TakeNotification();
    queue.EnableKicks();
  }
  queue.Rebind(memory);
  for (const uint16_t head : held) queue.Push(head, answer.data(), answer.size());

  std::vector<vsockenc::AddressRange> ranges;
  for (int i = 0; i < 8; i++) ranges.push_back({driver.Address(), driver.Length()});
  std::vector<vsockenc::FileRange> found;
  memory->Translate(ranges, driver.Below(8), &found);
  for (const auto &range : found) {
    Check(range.offset >= kRegion && range.offset + range.length <= 4 * kRegion,
          "an extent is outside");
  }
}

}  // namespace

int main(int argc, char **argv) {
  const long rounds = argc > 1 ? std::atol(argv[1]) : 1000;
  Driver driver(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1);
  const Descriptor memory(vsockenc::platform::CreateMemory("stress", kFile));
  void *mapped = mmap(nullptr, kFile, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0);
  Check(mapped != MAP_FAILED, "mmap");
  auto *file = static_cast<uint8_t *>(mapped);
  std::memset(file, kGuard, kFile);
  Counts counts;
  for (long round = 0; round < rounds; round++) Round(driver, file, memory.get(), &counts);
  for (const uint64_t guard : {0, 2, 4}) {
    for (uint64_t i = 0; i < kRegion; i++) {
      Check(file[guard * kRegion + i] == kGuard, "a byte outside the regions was written");
    }
  }
  std::printf("chains: %zu faults: %zu broken: %zu\n", counts.chains, counts.faults, counts.broken);
  munmap(mapped, kFile);
  return 0;
}
