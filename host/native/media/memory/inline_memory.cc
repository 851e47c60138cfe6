#include "inline_memory.h"

#include <cstring>

namespace vsockenc {

bool InlineMemory::Write(uint64_t offset, std::span<const uint8_t> bytes) {
  if (offset > bytes_ || bytes.size() > bytes_ - offset) return false;
  // An empty span may have no address, which memcpy must not be given.
  if (!bytes.empty()) std::memcpy(data_ + offset, bytes.data(), bytes.size());
  return true;
}

}  // namespace vsockenc
