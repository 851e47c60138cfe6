#include <CoreMedia/CMTime.h>

#include <cmath>

const CMTime kCMTimeInvalid = {0, 0, 0, 0};
const CMTime kCMTimeIndefinite = {0, 0, kCMTimeFlags_Valid | kCMTimeFlags_Indefinite, 0};
const CMTime kCMTimePositiveInfinity = {0, 0, kCMTimeFlags_Valid | kCMTimeFlags_PositiveInfinity,
                                        0};
const CMTime kCMTimeNegativeInfinity = {0, 0, kCMTimeFlags_Valid | kCMTimeFlags_NegativeInfinity,
                                        0};
const CMTime kCMTimeZero = {0, 1, kCMTimeFlags_Valid, 0};

// Order of times that are no numbers: invalid, -∞, numbers, +∞, indefinite.
static int Rank(CMTime time) {
  if (CMTIME_IS_INVALID(time)) {
    return 0;
  }
  if ((time.flags & kCMTimeFlags_NegativeInfinity) != 0) {
    return 1;
  }
  if ((time.flags & kCMTimeFlags_PositiveInfinity) != 0) {
    return 3;
  }
  return (time.flags & kCMTimeFlags_Indefinite) != 0 ? 4 : 2;
}

CMTime CMTimeMake(int64_t value, int32_t timescale) {
  return timescale > 0 ? CMTime{value, timescale, kCMTimeFlags_Valid, 0} : kCMTimeInvalid;
}

CMTime CMTimeMakeWithSeconds(Float64 seconds, int32_t preferred_timescale) {
  return CMTimeMake(llround(seconds * preferred_timescale), preferred_timescale);
}

Float64 CMTimeGetSeconds(CMTime time) {
  return CMTIME_IS_NUMERIC(time) ? static_cast<double>(time.value) / time.timescale : NAN;
}

CMTime CMTimeConvertScale(CMTime time, int32_t timescale, uint32_t) {
  if (!CMTIME_IS_NUMERIC(time) || timescale <= 0) {
    return time;
  }
  const __int128 scaled = static_cast<__int128>(time.value) * timescale;
  const __int128 half = time.timescale / 2;
  CMTime result = CMTimeMake(
      static_cast<int64_t>((scaled + (scaled < 0 ? -half : half)) / time.timescale), timescale);
  if (scaled % time.timescale != 0) {
    result.flags |= kCMTimeFlags_HasBeenRounded;
  }
  return result;
}

int32_t CMTimeCompare(CMTime one, CMTime other) {
  const int left = Rank(one);
  const int right = Rank(other);
  if (left != right) {
    return left < right ? -1 : 1;
  }
  if (left != 2) {
    return 0;
  }
  if (one.epoch != other.epoch) {
    return one.epoch < other.epoch ? -1 : 1;
  }
  const __int128 difference = static_cast<__int128>(one.value) * other.timescale -
                              static_cast<__int128>(other.value) * one.timescale;
  return difference < 0 ? -1 : difference > 0 ? 1 : 0;
}

static CMTime Sum(CMTime one, CMTime other, int sign) {
  if (!CMTIME_IS_NUMERIC(one) || !CMTIME_IS_NUMERIC(other)) {
    return kCMTimeInvalid;
  }
  if (one.timescale == other.timescale) {
    return CMTimeMake(one.value + sign * other.value, one.timescale);
  }
  const int32_t scale = one.timescale > other.timescale ? one.timescale : other.timescale;
  const CMTime left = CMTimeConvertScale(one, scale, kCMTimeRoundingMethod_Default);
  const CMTime right = CMTimeConvertScale(other, scale, kCMTimeRoundingMethod_Default);
  return CMTimeMake(left.value + sign * right.value, scale);
}

CMTime CMTimeAdd(CMTime augend, CMTime addend) {
  return Sum(augend, addend, 1);
}
CMTime CMTimeSubtract(CMTime minuend, CMTime subtrahend) {
  return Sum(minuend, subtrahend, -1);
}
