#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace vsockenc {

// Bounds what the pictures of one VM take of this process: runs of pages that are mapped, and
// staging memory. A VM that has used up its own takes nothing from another. Any thread.
class Budget {
 public:
  // Limit of a VM's staging memory.
  static constexpr uint64_t kStagingBytes = uint64_t{1} << 30;

  // `runs` is the limit of the VM's mapped runs.
  explicit Budget(size_t runs) : runs_(runs) {}
  Budget(const Budget &) = delete;
  Budget &operator=(const Budget &) = delete;

  // Throw PictureError when the limit would be exceeded.
  void TakeRuns(size_t count);
  void TakeStaging(uint64_t bytes);

  void GiveRuns(size_t count);
  void GiveStaging(uint64_t bytes);

  // Of all budgets together.
  static size_t AllRuns();
  static uint64_t AllStaging();

 private:
  const size_t runs_;
  std::atomic<size_t> runs_in_use_{0};
  std::atomic<uint64_t> staging_in_use_{0};
};

}  // namespace vsockenc
