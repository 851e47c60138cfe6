#include <algorithm>

#include "cv_types.h"

using vt_shim::AnyRef;
using vt_shim::Check;

static auto Find(__CVBuffer &buffer, CFStringRef key) {
  return std::find_if(buffer.attachments.begin(), buffer.attachments.end(),
                      [key](const auto &entry) { return CFEqual(entry.key.get(), key); });
}

void CVBufferSetAttachment(CVBufferRef buffer, CFStringRef key, CFTypeRef value,
                           CVAttachmentMode mode) {
  auto &object = Check(buffer, "CVBufferSetAttachment");
  vt_shim::CheckObject(value, nullptr, "CVBufferSetAttachment");
  std::lock_guard lock(object.attachments_mutex);
  __CVBuffer::Attachment attachment{AnyRef::Share(&Check(key, "CVBufferSetAttachment")),
                                    AnyRef::Share(vt_shim::ToObject(value)), mode};
  const auto found = Find(object, key);
  if (found == object.attachments.end()) {
    object.attachments.push_back(std::move(attachment));
  } else {
    *found = std::move(attachment);
  }
}

void CVBufferSetAttachments(CVBufferRef buffer, CFDictionaryRef attachments,
                            CVAttachmentMode mode) {
  for (const auto &[key, value] : Check(attachments, "CVBufferSetAttachments").entries) {
    CVBufferSetAttachment(buffer, vt_shim::As<__CFString>(key.get()), value.get(), mode);
  }
}

CFTypeRef CVBufferCopyAttachment(CVBufferRef buffer, CFStringRef key, CVAttachmentMode *mode) {
  auto &object = Check(buffer, "CVBufferCopyAttachment");
  std::lock_guard lock(object.attachments_mutex);
  const auto found = Find(object, key);
  if (found == object.attachments.end()) {
    return nullptr;
  }
  if (mode != nullptr) {
    *mode = found->mode;
  }
  return CFRetain(found->value.get());
}

Boolean CVBufferHasAttachment(CVBufferRef buffer, CFStringRef key) {
  auto &object = Check(buffer, "CVBufferHasAttachment");
  std::lock_guard lock(object.attachments_mutex);
  return Find(object, key) != object.attachments.end();
}

void CVBufferRemoveAttachment(CVBufferRef buffer, CFStringRef key) {
  auto &object = Check(buffer, "CVBufferRemoveAttachment");
  std::lock_guard lock(object.attachments_mutex);
  const auto found = Find(object, key);
  if (found != object.attachments.end()) {
    object.attachments.erase(found);
  }
}

void CVBufferRemoveAllAttachments(CVBufferRef buffer) {
  auto &object = Check(buffer, "CVBufferRemoveAllAttachments");
  std::lock_guard lock(object.attachments_mutex);
  object.attachments.clear();
}

void CVBufferPropagateAttachments(CVBufferRef source, CVBufferRef destination) {
  std::vector<__CVBuffer::Attachment> attachments;
  {
    auto &object = Check(source, "CVBufferPropagateAttachments");
    std::lock_guard lock(object.attachments_mutex);
    attachments = object.attachments;
  }
  for (const auto &[key, value, mode] : attachments) {
    if (mode == kCVAttachmentMode_ShouldPropagate) {
      CVBufferSetAttachment(destination, vt_shim::As<__CFString>(key.get()), value.get(), mode);
    }
  }
}

namespace vt_shim {

std::string AttachmentText(__CVBuffer &buffer, CFStringRef key) {
  std::lock_guard lock(buffer.attachments_mutex);
  const auto found = Find(buffer, key);
  const auto *text =
      found == buffer.attachments.end() ? nullptr : As<__CFString>(found->value.get());
  return text == nullptr ? "" : std::string(text->view());
}

}  // namespace vt_shim
