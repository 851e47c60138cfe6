#pragma once

#include <cstdint>

namespace vsockenc {

// When a session asks its encoder for a key frame. No encoder places them by itself, so that the
// interval can change in mid-stream and counts from the last key frame, however that one came
// about.
class Keyframes {
 public:
  explicit Keyframes(int interval) : interval_(interval) {}

  void SetInterval(int interval) { interval_ = interval; }
  // Whether the next frame has to be one.
  bool Due(bool asked) const { return asked || since_ == 0 || since_ >= interval_; }
  // A frame has gone to the encoder, or come out of it.
  void Count(bool key) { since_ = key ? 1 : since_ + 1; }
  // The stream has to begin anew: what was asked for has not come out, or nothing can refer to what
  // did.
  void Lose() { since_ = 0; }

 private:
  int64_t interval_;   // frames
  int64_t since_ = 0;  // frames since the last key frame, that one included; 0: none to refer to
};

}  // namespace vsockenc
