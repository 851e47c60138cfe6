#include "staging.h"

#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>

#include "pixel_memory.h"

namespace vsockenc {
namespace {

std::atomic<uint64_t> bytes_in_use{0};

void Take(uint64_t bytes) {
  uint64_t used = bytes_in_use.load();
  do {
    if (bytes > Staging::kBudget - used) {
      throw PictureError(PictureFault::kStagingSpent, "the picture needs ", bytes,
                         " bytes of staging memory, and ", used, " of at most ", Staging::kBudget,
                         " are in use already; attach fewer buffers at a time");
    }
  } while (!bytes_in_use.compare_exchange_weak(used, used + bytes));
}

}  // namespace

void Staging::CheckSize(uint64_t bytes) {
  if (bytes > kMaxBytes) {
    throw PictureError(PictureFault::kStagingSpent, "the picture needs ", bytes,
                       " bytes of staging memory, at most ", kMaxBytes,
                       " are allowed; use shorter rows");
  }
}

uint8_t *Staging::Reserve(uint64_t bytes) {
  if (bytes <= bytes_) return data_;
  CheckSize(bytes);
  Free();
  Take(bytes);
  void *mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) {
    bytes_in_use -= bytes;
    throw PictureError(PictureFault::kStagingSpent, "no memory for ", bytes,
                       " bytes of staging: ", strerror(errno));
  }
  data_ = static_cast<uint8_t *>(mapped);
  bytes_ = bytes;
  return data_;
}

void Staging::Free() {
  if (data_ == nullptr) return;
  munmap(data_, bytes_);
  bytes_in_use -= bytes_;
  data_ = nullptr;
  bytes_ = 0;
}

Staging::~Staging() {
  Free();
}

uint64_t Staging::BytesInUse() {
  return bytes_in_use.load();
}

}  // namespace vsockenc
