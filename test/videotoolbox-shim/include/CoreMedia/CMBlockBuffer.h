// Byte ranges that may lie in several pieces of memory.
#pragma once

#include <CoreMedia/CMBase.h>

typedef struct OpaqueCMBlockBuffer *CMBlockBufferRef;

enum {
  kCMBlockBufferNoErr = 0,
  kCMBlockBufferStructureAllocationFailedErr = -12700,
  kCMBlockBufferBlockAllocationFailedErr = -12701,
  kCMBlockBufferBadCustomBlockSourceErr = -12702,
  kCMBlockBufferBadOffsetParameterErr = -12703,
  kCMBlockBufferBadLengthParameterErr = -12704,
  kCMBlockBufferBadPointerParameterErr = -12705,
  kCMBlockBufferEmptyBBufErr = -12706,
  kCMBlockBufferUnallocatedBlockErr = -12707,
  kCMBlockBufferInsufficientSpaceErr = -12708
};

CM_EXPORT CFTypeID CMBlockBufferGetTypeID(void);
CM_EXPORT size_t CMBlockBufferGetDataLength(CMBlockBufferRef buffer);
// length 0: up to the end.
CM_EXPORT Boolean CMBlockBufferIsRangeContiguous(CMBlockBufferRef buffer, size_t offset,
                                                 size_t length);
CM_EXPORT OSStatus CMBlockBufferCopyDataBytes(CMBlockBufferRef buffer, size_t offset, size_t length,
                                              void *destination);
// *length_at_offset bytes lie at *data_pointer; that may be fewer than the rest of the buffer.
CM_EXPORT OSStatus CMBlockBufferGetDataPointer(CMBlockBufferRef buffer, size_t offset,
                                               size_t *length_at_offset, size_t *total_length,
                                               char **data_pointer);
// One pointer to `length` bytes: into the buffer, or to `temporary` when they had to be copied.
CM_EXPORT OSStatus CMBlockBufferAccessDataBytes(CMBlockBufferRef buffer, size_t offset,
                                                size_t length, void *temporary,
                                                char **returned_pointer);
