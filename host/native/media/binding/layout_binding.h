#pragma once

#include <napi.h>

#include <map>
#include <vector>

#include "../memory/extents.h"
#include "../memory/picture_error.h"
#include "../picture/picture_layout.h"

namespace vsockenc {

// The caller's descriptors, duplicated: it may close them, and the system use the numbers for
// something else, before the mapping thread comes to them.
class OwnDescriptors {
 public:
  OwnDescriptors() = default;
  OwnDescriptors(OwnDescriptors &&) = default;
  ~OwnDescriptors();

  // Throws PictureError.
  int Duplicate(int theirs);

 private:
  std::map<int, int> descriptors_;
};

// NativeLayout of host/native/picture.ts. Throws PictureError.
PictureLayout ReadLayout(const Napi::Object &from);

// Extents come as a flat BigUint64Array of descriptor, offset, length. Throws PictureError.
std::vector<Extent> ReadExtents(const Napi::Value &value, OwnDescriptors &descriptors);

// An Error with the code by which host/native/picture-error.ts finds the class.
Napi::Error PictureErrorObject(Napi::Env env, const PictureError &error);
void SetFaultCode(const Napi::Error &error, PictureFault fault);

}  // namespace vsockenc
