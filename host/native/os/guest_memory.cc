#include "guest_memory.h"

#include <algorithm>
#include <stdexcept>

namespace vsockenc {

namespace {

bool Overflows(uint64_t start, uint64_t length) {
  return start + length < start;
}

// Identifies a region's memory where the system does not.
std::string RegionIdentity(const RegionDescription &region, uint64_t size) {
  return "region:" + std::to_string(region.guest_address) + ":" +
         std::to_string(region.file_offset) + ":" + std::to_string(size);
}

platform::MemoryStatus Status(int fd) {
  platform::MemoryStatus status;
  Check(platform::StatusOf(fd, &status), "fstat of a memory");
  return status;
}

}  // namespace

GuestMemory::GuestMemory(std::vector<RegionDescription> descriptions,
                         std::vector<Descriptor> descriptors) {
  if (descriptions.size() != descriptors.size()) {
    throw std::runtime_error("a memory table needs one descriptor for each region");
  }
  regions_.reserve(descriptions.size());
  for (size_t i = 0; i < descriptions.size(); i++) {
    const RegionDescription &region = descriptions[i];
    if (region.size == 0 || Overflows(region.guest_address, region.size) ||
        Overflows(region.user_address, region.size) || Overflows(region.file_offset, region.size)) {
      throw std::runtime_error("a memory region is empty or wraps around");
    }
    for (const Region &other : regions_) {
      const RegionDescription &taken = other.description;
      if (region.guest_address < taken.guest_address + taken.size &&
          taken.guest_address < region.guest_address + region.size) {
        throw std::runtime_error("two memory regions overlap in guest addresses");
      }
    }
    const int fd = descriptors[i].get();
    platform::MemoryStatus status = Status(fd);
    if (!status.is_memory || region.file_offset + region.size > status.size) {
      throw std::runtime_error("a memory region reaches beyond the end of its file");
    }
    if (status.identity.empty()) status.identity = RegionIdentity(region, status.size);
    size_t memory = 0;
    while (memory < memories_.size() && memories_[memory].identity != status.identity) memory++;
    FileWindow mapping(fd, region.file_offset, region.size, PROT_READ | PROT_WRITE);
    if (memory == memories_.size()) memories_.push_back({status.identity, status.size, fd});
    regions_.push_back(Region{region, std::move(descriptors[i]), std::move(mapping), memory});
  }
}

uint8_t *GuestMemory::AtUser(uint64_t address, uint64_t length) const {
  for (const Region &region : regions_) {
    const RegionDescription &description = region.description;
    if (address < description.user_address) continue;
    const uint64_t offset = address - description.user_address;
    if (offset < description.size && length <= description.size - offset) {
      return region.mapping.data() + offset;
    }
  }
  return nullptr;
}

std::optional<GuestMemory::Piece> GuestMemory::FirstPiece(uint64_t address, uint64_t length) const {
  for (const Region &region : regions_) {
    const RegionDescription &description = region.description;
    if (address < description.guest_address) continue;
    const uint64_t offset = address - description.guest_address;
    if (offset < description.size) {
      return Piece{&region, offset, std::min(length, description.size - offset)};
    }
  }
  return std::nullopt;
}

template <typename Visit>
bool GuestMemory::ForEachPiece(uint64_t address, uint64_t length, Visit visit) const {
  if (Overflows(address, length)) return false;
  for (uint64_t done = 0; done < length;) {
    const auto piece = FirstPiece(address + done, length - done);
    if (!piece || !visit(*piece, done)) return false;
    done += piece->length;
  }
  return true;
}

bool GuestMemory::Read(uint64_t address, void *destination, uint64_t length) const {
  auto *to = static_cast<uint8_t *>(destination);
  return ForEachPiece(address, length, [to](const Piece &piece, uint64_t done) {
    std::memcpy(to + done, piece.region->mapping.data() + piece.offset, piece.length);
    return true;
  });
}

bool GuestMemory::Write(uint64_t address, const void *source, uint64_t length) const {
  if (!ForEachPiece(address, length, [](const Piece &, uint64_t) { return true; })) return false;
  const auto *from = static_cast<const uint8_t *>(source);
  return ForEachPiece(address, length, [from](const Piece &piece, uint64_t done) {
    std::memcpy(piece.region->mapping.data() + piece.offset, from + done, piece.length);
    return true;
  });
}

bool GuestMemory::Translate(const std::vector<AddressRange> &ranges, size_t limit,
                            std::vector<FileRange> *result) const {
  return std::all_of(ranges.begin(), ranges.end(), [&](const AddressRange &range) {
    return ForEachPiece(range.address, range.length, [&](const Piece &piece, uint64_t) {
      const uint64_t offset = piece.region->description.file_offset + piece.offset;
      if (!result->empty()) {
        FileRange &last = result->back();
        if (last.memory == piece.region->memory && last.offset + last.length == offset) {
          last.length += piece.length;
          return true;
        }
      }
      if (result->size() >= limit) return false;
      result->push_back({piece.region->memory, offset, piece.length});
      return true;
    });
  });
}

void WriteMemory(int fd, uint64_t offset, const uint8_t *bytes, size_t length) {
  const platform::MemoryStatus status = Status(fd);
  if (!status.is_memory || offset > status.size || length > status.size - offset) {
    throw std::system_error(EINVAL, std::generic_category(), "writing outside a memory");
  }
  if (length == 0) return;
  if (!status.is_file) {
    const FileWindow window(fd, offset, length, PROT_READ | PROT_WRITE);
    std::memcpy(window.data(), bytes, length);
    return;
  }
  for (size_t done = 0; done < length;) {
    const ssize_t count =
        pwrite(fd, bytes + done, length - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    done += static_cast<size_t>(Check(count, "writing to a memory"));
  }
}

}  // namespace vsockenc
