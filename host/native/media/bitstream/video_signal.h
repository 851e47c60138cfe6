#pragma once

namespace vsockenc {

// Code points of ISO/IEC 23091-2, as in libavutil.
struct ColourDescription {
  int primaries;
  int transfer;
  int matrix;
  bool full_range;
};

struct Fraction {
  int numerator;
  int denominator;
};

}  // namespace vsockenc
