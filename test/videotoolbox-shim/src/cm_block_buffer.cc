#include <algorithm>
#include <cstring>

#include "cm_types.h"

using vt_shim::Check;
using vt_shim::kTypeOf;

OpaqueCMBlockBuffer::OpaqueCMBlockBuffer(const std::vector<uint8_t> &bytes, size_t piece_size)
    : ObjectOf(kTypeOf<OpaqueCMBlockBuffer>, vt_shim::Lifetime::kCounted), length(bytes.size()) {
  const size_t limit = piece_size == 0 ? std::max<size_t>(length, 1) : piece_size;
  for (size_t offset = 0; offset < length; offset += limit) {
    const size_t size = std::min(limit, length - offset);
    pieces.push_back({std::make_unique<char[]>(size), size});
    memcpy(pieces.back().bytes.get(), bytes.data() + offset, size);
  }
}

char *OpaqueCMBlockBuffer::At(size_t offset, size_t *rest_of_piece) const {
  for (const Piece &piece : pieces) {
    if (offset < piece.size) {
      *rest_of_piece = piece.size - offset;
      return piece.bytes.get() + offset;
    }
    offset -= piece.size;
  }
  return nullptr;
}

CFTypeID CMBlockBufferGetTypeID(void) {
  return kTypeOf<OpaqueCMBlockBuffer>.id;
}

size_t CMBlockBufferGetDataLength(CMBlockBufferRef buffer) {
  return Check(buffer, "CMBlockBufferGetDataLength").length;
}

Boolean CMBlockBufferIsRangeContiguous(CMBlockBufferRef buffer, size_t offset, size_t length) {
  const auto &object = Check(buffer, "CMBlockBufferIsRangeContiguous");
  size_t rest = 0;
  if (offset >= object.length || length > object.length - offset ||
      object.At(offset, &rest) == nullptr) {
    return false;
  }
  return rest >= (length == 0 ? object.length - offset : length);
}

OSStatus CMBlockBufferCopyDataBytes(CMBlockBufferRef buffer, size_t offset, size_t length,
                                    void *destination) {
  const auto &object = Check(buffer, "CMBlockBufferCopyDataBytes");
  if (destination == nullptr) {
    return kCMBlockBufferBadPointerParameterErr;
  }
  if (offset > object.length) {
    return kCMBlockBufferBadOffsetParameterErr;
  }
  if (length > object.length - offset) {
    return kCMBlockBufferBadLengthParameterErr;
  }
  for (size_t done = 0; done < length;) {
    size_t rest = 0;
    const char *bytes = object.At(offset + done, &rest);
    const size_t size = std::min(rest, length - done);
    memcpy(static_cast<char *>(destination) + done, bytes, size);
    done += size;
  }
  return kCMBlockBufferNoErr;
}

OSStatus CMBlockBufferGetDataPointer(CMBlockBufferRef buffer, size_t offset,
                                     size_t *length_at_offset, size_t *total_length,
                                     char **data_pointer) {
  const auto &object = Check(buffer, "CMBlockBufferGetDataPointer");
  size_t rest = 0;
  char *bytes = object.At(offset, &rest);
  if (bytes == nullptr) {
    return kCMBlockBufferBadOffsetParameterErr;
  }
  if (length_at_offset != nullptr) {
    *length_at_offset = rest;
  }
  if (total_length != nullptr) {
    *total_length = object.length;
  }
  if (data_pointer != nullptr) {
    *data_pointer = bytes;
  }
  return kCMBlockBufferNoErr;
}

OSStatus CMBlockBufferAccessDataBytes(CMBlockBufferRef buffer, size_t offset, size_t length,
                                      void *temporary, char **returned_pointer) {
  const auto &object = Check(buffer, "CMBlockBufferAccessDataBytes");
  size_t rest = 0;
  char *bytes = object.At(offset, &rest);
  if (bytes != nullptr && rest >= length) {
    *returned_pointer = bytes;
    return kCMBlockBufferNoErr;
  }
  *returned_pointer = static_cast<char *>(temporary);
  return CMBlockBufferCopyDataBytes(buffer, offset, length, temporary);
}
