#include "staging.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "pixel_memory.h"

namespace vsockenc {
void Staging::CheckSize(uint64_t bytes) {
  if (bytes > kMaxBytes) {
    throw PictureError(PictureFault::kStagingSpent, "the picture needs ", bytes,
                       " bytes of staging memory, at most ", kMaxBytes,
                       " are allowed; use shorter rows");
  }
}

uint8_t *Staging::Reserve(uint64_t bytes, const std::shared_ptr<Budget> &budget) {
  if (bytes <= bytes_ && budget == budget_) return data_;
  CheckSize(bytes);
  Free();
  budget->TakeStaging(bytes);
  void *mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) {
    budget->GiveStaging(bytes);
    throw PictureError(PictureFault::kStagingSpent, "no memory for ", bytes,
                       " bytes of staging: ", strerror(errno));
  }
  data_ = static_cast<uint8_t *>(mapped);
  bytes_ = bytes;
  budget_ = budget;
  return data_;
}

void Staging::Free() {
  if (data_ == nullptr) return;
  munmap(data_, bytes_);
  budget_->GiveStaging(bytes_);
  budget_.reset();
  data_ = nullptr;
  bytes_ = 0;
}

Staging::~Staging() {
  Free();
}

}  // namespace vsockenc
