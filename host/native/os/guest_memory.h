// The guest's RAM as vhost-user describes it (SET_MEM_TABLE, QEMU docs/interop/vhost-user.rst
// "Memory regions description"), mapped into this process. Plain C++, so that tests can compile it
// alone.
//
// A region is a view of a shareable file: several regions are often views of one memfd, each with a
// descriptor of its own, at file offsets that differ from the guest addresses. A memory is such a
// file. Where the system cannot identify the file behind a descriptor (Darwin's POSIX shared
// memory), each region counts as a memory of its own, identified by its addresses: QEMU sends the
// same table with fresh descriptors after every stop.
//
// Every access is checked against the table; an address outside returns false or nullptr, never a
// fault. (The file cannot shrink below a region: its size is checked when it is mapped, and QEMU
// seals it.)
#pragma once

#include <optional>
#include <vector>

#include "../platform/platform.h"

namespace vsockenc {

struct RegionDescription {
  uint64_t guest_address;
  uint64_t size;
  uint64_t user_address;
  // Of the region's first byte in the file.
  uint64_t file_offset;
};

// Consecutive bytes of one memory (an index into GuestMemory::memories()).
struct FileRange {
  size_t memory;
  uint64_t offset;
  uint64_t length;
};

struct AddressRange {
  uint64_t address;
  uint64_t length;
};

struct SharedMemory {
  // Equal exactly for the same memory, also of a later table.
  std::string identity;
  uint64_t size;
  // Of one of its regions; owned by the region.
  int fd;
};

class GuestMemory {
 public:
  // Maps the regions; takes ownership of the descriptors even if it throws std::runtime_error.
  GuestMemory(std::vector<RegionDescription> descriptions, std::vector<Descriptor> descriptors);

  // The bytes of a range of QEMU's virtual addresses, in which vhost-user gives the rings, that
  // lies in one region; nullptr if none holds it all.
  uint8_t *AtUser(uint64_t address, uint64_t length) const;

  // Copies; a range may span regions that adjoin. False, with nothing written, if part is outside.
  bool Read(uint64_t address, void *destination, uint64_t length) const;
  bool Write(uint64_t address, const void *source, uint64_t length) const;

  // Appends where the ranges' bytes lie in the memories; ranges that adjoin there become one.
  // False if a part is outside. `limit` bounds the number of results.
  bool Translate(const std::vector<AddressRange> &ranges, size_t limit,
                 std::vector<FileRange> *result) const;

  const std::vector<SharedMemory> &memories() const { return memories_; }

 private:
  struct Region {
    RegionDescription description;
    Descriptor descriptor;
    FileWindow mapping;
    size_t memory;
  };
  // A part of a range that lies in one region.
  struct Piece {
    const Region *region;
    uint64_t offset;
    uint64_t length;
  };

  std::optional<Piece> FirstPiece(uint64_t address, uint64_t length) const;
  // Calls visit(piece, bytes before it) for every part; false if part of the range is outside.
  template <typename Visit>
  bool ForEachPiece(uint64_t address, uint64_t length, Visit visit) const;

  std::vector<Region> regions_;
  std::vector<SharedMemory> memories_;
};

// Copies bytes into a shareable memory of any kind. Throws std::system_error; EINVAL if they do not
// lie inside.
void WriteMemory(int fd, uint64_t offset, const uint8_t *bytes, size_t length);

}  // namespace vsockenc
