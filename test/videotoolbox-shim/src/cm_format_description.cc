#include "cm_types.h"

using vt_shim::Check;
using vt_shim::kTypeOf;

opaqueCMFormatDescription::opaqueCMFormatDescription(
    CMVideoCodecType codec_type, CMVideoDimensions size, std::vector<std::vector<uint8_t>> sets,
    int length_size, vt_shim::Ref<__CFDictionary> extension_dictionary)
    : ObjectOf(kTypeOf<opaqueCMFormatDescription>, vt_shim::Lifetime::kCounted),
      codec(codec_type),
      dimensions(size),
      parameter_sets(std::move(sets)),
      nal_length_size(length_size),
      extensions(std::move(extension_dictionary)) {}

bool opaqueCMFormatDescription::Equals(const Object &other) const {
  const auto &description = static_cast<const opaqueCMFormatDescription &>(other);
  return codec == description.codec && parameter_sets == description.parameter_sets &&
         nal_length_size == description.nal_length_size;
}

void opaqueCMFormatDescription::Finalize() {
  parameter_sets.clear();
  extensions = {};
}

CFTypeID CMFormatDescriptionGetTypeID(void) {
  return kTypeOf<opaqueCMFormatDescription>.id;
}

CMMediaType CMFormatDescriptionGetMediaType(CMFormatDescriptionRef description) {
  Check(description, "CMFormatDescriptionGetMediaType");
  return kCMMediaType_Video;
}

FourCharCode CMFormatDescriptionGetMediaSubType(CMFormatDescriptionRef description) {
  return Check(description, "CMFormatDescriptionGetMediaSubType").codec;
}

CFDictionaryRef CMFormatDescriptionGetExtensions(CMFormatDescriptionRef description) {
  return Check(description, "CMFormatDescriptionGetExtensions").extensions.get();
}

CFTypeRef CMFormatDescriptionGetExtension(CMFormatDescriptionRef description, CFStringRef key) {
  return Check(description, "CMFormatDescriptionGetExtension").extensions->Find(key);
}

Boolean CMFormatDescriptionEqual(CMFormatDescriptionRef one, CMFormatDescriptionRef other) {
  return CFEqual(one, other);
}

CMVideoDimensions CMVideoFormatDescriptionGetDimensions(CMVideoFormatDescriptionRef description) {
  return Check(description, "CMVideoFormatDescriptionGetDimensions").dimensions;
}

static OSStatus GetParameterSet(const opaqueCMFormatDescription &description,
                                CMVideoCodecType codec, size_t index, const uint8_t **set,
                                size_t *set_size, size_t *set_count, int *nal_unit_header_length) {
  if (description.codec != codec) {
    return kCMFormatDescriptionError_InvalidParameter;
  }
  if (index >= description.parameter_sets.size()) {
    return kCMFormatDescriptionError_InvalidParameter;
  }
  const auto &bytes = description.parameter_sets[index];
  if (set != nullptr) {
    *set = bytes.data();
  }
  if (set_size != nullptr) {
    *set_size = bytes.size();
  }
  if (set_count != nullptr) {
    *set_count = description.parameter_sets.size();
  }
  if (nal_unit_header_length != nullptr) {
    *nal_unit_header_length = description.nal_length_size;
  }
  return noErr;
}

OSStatus CMVideoFormatDescriptionGetH264ParameterSetAtIndex(CMFormatDescriptionRef description,
                                                            size_t index, const uint8_t **set,
                                                            size_t *set_size, size_t *set_count,
                                                            int *nal_unit_header_length) {
  return GetParameterSet(Check(description, "CMVideoFormatDescriptionGetH264ParameterSetAtIndex"),
                         kCMVideoCodecType_H264, index, set, set_size, set_count,
                         nal_unit_header_length);
}

OSStatus CMVideoFormatDescriptionGetHEVCParameterSetAtIndex(CMFormatDescriptionRef description,
                                                            size_t index, const uint8_t **set,
                                                            size_t *set_size, size_t *set_count,
                                                            int *nal_unit_header_length) {
  return GetParameterSet(Check(description, "CMVideoFormatDescriptionGetHEVCParameterSetAtIndex"),
                         kCMVideoCodecType_HEVC, index, set, set_size, set_count,
                         nal_unit_header_length);
}
