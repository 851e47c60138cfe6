#include "guest_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace vsockenc {

namespace {

[[noreturn]] void ThrowErrno(const std::string &what) {
  throw std::system_error(errno, std::generic_category(), what);
}

bool Overflows(uint64_t start, uint64_t length) {
  return start + length < start;
}

struct stat Status(int fd) {
  struct stat status {};
  if (fstat(fd, &status) != 0) ThrowErrno("fstat of a memory region");
  return status;
}

// Offsets of huge pages' files must be multiples of the huge page, which st_blksize tells.
uint64_t MappingAlignment(const struct stat &status) {
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const auto block = static_cast<uint64_t>(status.st_blksize);
  return block > page && (block & (block - 1)) == 0 ? block : page;
}

}  // namespace

Descriptor &Descriptor::operator=(Descriptor &&other) noexcept {
  if (this != &other) {
    Reset();
    fd_ = other.Take();
  }
  return *this;
}

void Descriptor::Reset() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

GuestMemory::Mapping::Mapping(int fd, uint64_t file_offset, uint64_t size, uint64_t alignment) {
  const uint64_t start = file_offset & ~(alignment - 1);
  const uint64_t lead = file_offset - start;
  length_ = static_cast<size_t>((lead + size + alignment - 1) & ~(alignment - 1));
  base_ = mmap(nullptr, length_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(start));
  if (base_ == MAP_FAILED) ThrowErrno("mmap of a memory region");
  data_ = static_cast<uint8_t *>(base_) + lead;
}

GuestMemory::Mapping::Mapping(Mapping &&other) noexcept
    : base_(std::exchange(other.base_, nullptr)), length_(other.length_), data_(other.data_) {}

GuestMemory::Mapping::~Mapping() {
  if (base_ != nullptr) munmap(base_, length_);
}

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
    const struct stat status = Status(fd);
    const auto file_size = static_cast<uint64_t>(status.st_size);
    if (region.file_offset + region.size > file_size) {
      throw std::runtime_error("a memory region reaches beyond the end of its file");
    }
    size_t memory = 0;
    while (memory < memories_.size() && (memories_[memory].device != status.st_dev ||
                                         memories_[memory].inode != status.st_ino)) {
      memory++;
    }
    Mapping mapping(fd, region.file_offset, region.size, MappingAlignment(status));
    if (memory == memories_.size()) {
      memories_.push_back({status.st_dev, status.st_ino, file_size, fd});
    }
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

bool GuestMemory::Contains(uint64_t address, uint64_t length) const {
  return ForEachPiece(address, length, [](const Piece &, uint64_t) { return true; });
}

bool GuestMemory::Read(uint64_t address, void *destination, uint64_t length) const {
  auto *to = static_cast<uint8_t *>(destination);
  return ForEachPiece(address, length, [to](const Piece &piece, uint64_t done) {
    std::memcpy(to + done, piece.region->mapping.data() + piece.offset, piece.length);
    return true;
  });
}

bool GuestMemory::Write(uint64_t address, const void *source, uint64_t length) const {
  if (!Contains(address, length)) return false;
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

Descriptor ReopenReadOnly(int fd) {
#ifdef __linux__
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  Descriptor reopened(open(path.c_str(), O_RDONLY | O_CLOEXEC));
#else
  Descriptor reopened(fcntl(fd, F_DUPFD_CLOEXEC, 0));
#endif
  if (reopened.get() < 0) ThrowErrno("reopening a memory read-only");
  return reopened;
}

Descriptor CreateMemory(const std::string &name, uint64_t size) {
#ifdef __linux__
  Descriptor memory(memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (memory.get() < 0) ThrowErrno("memfd_create");
#else
  // The name lives only until the next line, and is taken only if it was free.
  const std::string path = "/" + name.substr(0, 16) + "." + std::to_string(getpid());
  Descriptor memory(shm_open(path.c_str(), O_RDWR | O_CREAT | O_EXCL, S_IRUSR | S_IWUSR));
  if (memory.get() < 0) ThrowErrno("shm_open");
  shm_unlink(path.c_str());
#endif
  if (ftruncate(memory.get(), static_cast<off_t>(size)) != 0) ThrowErrno("ftruncate of a memory");
#ifdef __linux__
  if (fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
    ThrowErrno("sealing a memory");
  }
#endif
  return memory;
}

}  // namespace vsockenc
