#include "budget.h"

#include "pixel_memory.h"

namespace vsockenc {
namespace {

std::atomic<size_t> all_runs{0};
std::atomic<uint64_t> all_staging{0};

// Adds to `in_use` unless that exceeds `limit`; `used` is what was in use before.
template <typename Number>
bool Take(std::atomic<Number> &in_use, Number count, Number limit, Number &used) {
  used = in_use.load();
  do {
    if (count > limit - used) return false;
  } while (!in_use.compare_exchange_weak(used, used + count));
  return true;
}

}  // namespace

void Budget::TakeRuns(size_t count) {
  size_t used = 0;
  if (!Take(runs_in_use_, count, runs_, used)) {
    throw PictureError(PictureFault::kUnstitchable, "the picture consists of ", count,
                       " runs of pages, and this VM has mapped ", used, " of at most ", runs_,
                       " already; attach fewer buffers at a time");
  }
  all_runs += count;
}

void Budget::TakeStaging(uint64_t bytes) {
  uint64_t used = 0;
  if (!Take(staging_in_use_, bytes, kStagingBytes, used)) {
    throw PictureError(PictureFault::kStagingSpent, "the picture needs ", bytes,
                       " bytes of staging memory, and this VM uses ", used, " of at most ",
                       kStagingBytes, " already; attach fewer buffers at a time");
  }
  all_staging += bytes;
}

void Budget::GiveRuns(size_t count) {
  runs_in_use_ -= count;
  all_runs -= count;
}

void Budget::GiveStaging(uint64_t bytes) {
  staging_in_use_ -= bytes;
  all_staging -= bytes;
}

size_t Budget::AllRuns() {
  return all_runs.load();
}

uint64_t Budget::AllStaging() {
  return all_staging.load();
}

}  // namespace vsockenc
