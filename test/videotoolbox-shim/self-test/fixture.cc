#include "fixture.h"

#include <cstring>

#include "harness.h"

extern "C" {
#include <libavcodec/avcodec.h>
}

namespace self_test {
namespace {

bool IsKeyFrame(CMSampleBufferRef sample) {
  CFArrayRef array = CMSampleBufferGetSampleAttachmentsArray(sample, false);
  if (array == nullptr || CFArrayGetCount(array) == 0) {
    return true;
  }
  const auto attachments = static_cast<CFDictionaryRef>(CFArrayGetValueAtIndex(array, 0));
  const auto not_sync =
      static_cast<CFBooleanRef>(CFDictionaryGetValue(attachments, kCMSampleAttachmentKey_NotSync));
  return not_sync == nullptr || !CFBooleanGetValue(not_sync);
}

constexpr uint8_t kStartCode[] = {0, 0, 0, 1};

void ReadSample(CMSampleBufferRef sample, Output *output) {
  output->key = IsKeyFrame(sample);
  output->valid_dts = CMTIME_IS_VALID(CMSampleBufferGetDecodeTimeStamp(sample));
  CMFormatDescriptionRef format = CMSampleBufferGetFormatDescription(sample);
  const auto get = CMFormatDescriptionGetMediaSubType(format) == kCMVideoCodecType_H264
                       ? CMVideoFormatDescriptionGetH264ParameterSetAtIndex
                       : CMVideoFormatDescriptionGetHEVCParameterSetAtIndex;
  size_t set_count = 0;
  EXPECT_EQ(get(format, 0, nullptr, nullptr, &set_count, &output->nal_length_size), 0);
  for (size_t index = 0; output->key && index < set_count; ++index) {
    const uint8_t *set = nullptr;
    size_t size = 0;
    EXPECT_EQ(get(format, index, &set, &size, nullptr, nullptr), 0);
    output->annex_b.insert(output->annex_b.end(), kStartCode, kStartCode + 4);
    output->annex_b.insert(output->annex_b.end(), set, set + size);
    output->parameter_sets.emplace_back(set, set + size);
  }
  CMBlockBufferRef data = CMSampleBufferGetDataBuffer(sample);
  output->contiguous = CMBlockBufferIsRangeContiguous(data, 0, 0);
  std::vector<uint8_t> bytes(CMBlockBufferGetDataLength(data));
  EXPECT_EQ(CMBlockBufferCopyDataBytes(data, 0, bytes.size(), bytes.data()), 0);
  const auto length_size = static_cast<size_t>(output->nal_length_size);
  for (size_t at = 0; at < bytes.size();) {
    size_t size = 0;
    EXPECT(at + length_size <= bytes.size());
    for (size_t index = 0; index < length_size; ++index) {
      size = size << 8 | bytes[at + index];
    }
    at += length_size;
    EXPECT(size <= bytes.size() - at);
    output->annex_b.insert(output->annex_b.end(), kStartCode, kStartCode + 4);
    output->annex_b.insert(output->annex_b.end(), bytes.data() + at, bytes.data() + at + size);
    at += size;
  }
}

CFNumberRef NewInt(int value) {
  return CFNumberCreate(nullptr, kCFNumberIntType, &value);
}

void SetInt(CFMutableDictionaryRef dictionary, CFStringRef key, int value) {
  CFNumberRef number = NewInt(value);
  CFDictionarySetValue(dictionary, key, number);
  CFRelease(number);
}

CFMutableDictionaryRef NewDictionary() {
  return CFDictionaryCreateMutable(nullptr, 0, &kCFTypeDictionaryKeyCallBacks,
                                   &kCFTypeDictionaryValueCallBacks);
}

}  // namespace

OSStatus CreateSession(const Options &options, VTCompressionOutputCallback callback, void *refcon,
                       VTCompressionSessionRef *session) {
  CFMutableDictionaryRef specification = NewDictionary();
  if (options.require_hardware) {
    CFDictionarySetValue(specification,
                         kVTVideoEncoderSpecification_RequireHardwareAcceleratedVideoEncoder,
                         kCFBooleanTrue);
  }
  if (options.low_latency) {
    CFDictionarySetValue(specification, kVTVideoEncoderSpecification_EnableLowLatencyRateControl,
                         kCFBooleanTrue);
  }
  const OSStatus status =
      VTCompressionSessionCreate(nullptr, options.width, options.height, options.codec,
                                 specification, nullptr, nullptr, callback, refcon, session);
  CFRelease(specification);
  return status;
}

Session::Session(const Options &options) {
  EXPECT_EQ(CreateSession(options, Callback, this, &ref), noErr);
  if (!options.reordering) {
    Set(ref, kVTCompressionPropertyKey_AllowFrameReordering, kCFBooleanFalse);
  }
  EXPECT_EQ(VTCompressionSessionPrepareToEncodeFrames(ref), noErr);
}

Session::~Session() {
  VTCompressionSessionInvalidate(ref);
  CFRelease(ref);
}

void Session::Callback(void *self, void *frame, OSStatus status, VTEncodeInfoFlags flags,
                       CMSampleBufferRef sample) {
  auto *session = static_cast<Session *>(self);
  Output output{};
  output.frame = static_cast<int>(reinterpret_cast<intptr_t>(frame));
  output.status = status;
  output.flags = flags;
  output.has_sample = sample != nullptr;
  output.thread = std::this_thread::get_id();
  if (sample != nullptr) {
    ReadSample(sample, &output);
  }
  {
    std::lock_guard lock(session->mutex_);
    session->outputs_.push_back(std::move(output));
  }
  if (session->in_callback) {
    session->in_callback();
  }
}

CVPixelBufferRef Session::NewPicture(int number) {
  CVPixelBufferPoolRef pool = VTCompressionSessionGetPixelBufferPool(ref);
  EXPECT(pool != nullptr);
  CVPixelBufferRef buffer = nullptr;
  EXPECT_EQ(CVPixelBufferPoolCreatePixelBuffer(nullptr, pool, &buffer), kCVReturnSuccess);
  Paint(buffer, number);
  return buffer;
}

OSStatus Session::Encode(int number, bool key) {
  CVPixelBufferRef buffer = NewPicture(number);
  const OSStatus status = Encode(buffer, number, key);
  CVPixelBufferRelease(buffer);
  return status;
}

OSStatus Session::Encode(CVPixelBufferRef buffer, int number, bool key) {
  CFMutableDictionaryRef properties = NewDictionary();
  if (key) {
    CFDictionarySetValue(properties, kVTEncodeFrameOptionKey_ForceKeyFrame, kCFBooleanTrue);
  }
  VTEncodeInfoFlags flags = 0;
  const OSStatus status = VTCompressionSessionEncodeFrame(
      ref, buffer, CMTimeMake(number, 30), CMTimeMake(1, 30), properties,
      reinterpret_cast<void *>(static_cast<intptr_t>(number)), &flags);
  CFRelease(properties);
  return status;
}

std::vector<Output> Session::Outputs() {
  std::lock_guard lock(mutex_);
  return outputs_;
}

size_t Session::OutputCount() {
  std::lock_guard lock(mutex_);
  return outputs_.size();
}

void Set(VTCompressionSessionRef session, CFStringRef key, int value, OSStatus expected) {
  CFNumberRef number = NewInt(value);
  Set(session, key, number, expected);
  CFRelease(number);
}

void Set(VTCompressionSessionRef session, CFStringRef key, CFTypeRef value, OSStatus expected) {
  EXPECT_EQ(VTSessionSetProperty(session, key, value), expected);
}

CVPixelBufferRef NewBuffer(OSType format, int width, int height) {
  CVPixelBufferRef buffer = nullptr;
  EXPECT_EQ(CVPixelBufferCreate(nullptr, static_cast<size_t>(width), static_cast<size_t>(height),
                                format, nullptr, &buffer),
            kCVReturnSuccess);
  return buffer;
}

void Paint(CVPixelBufferRef buffer, int number) {
  EXPECT_EQ(CVPixelBufferLockBaseAddress(buffer, 0), kCVReturnSuccess);
  const size_t planes = CVPixelBufferIsPlanar(buffer) ? CVPixelBufferGetPlaneCount(buffer) : 1;
  for (size_t plane = 0; plane < planes; ++plane) {
    auto *bytes = static_cast<uint8_t *>(CVPixelBufferGetBaseAddressOfPlane(buffer, plane));
    const size_t stride = CVPixelBufferGetBytesPerRowOfPlane(buffer, plane);
    const size_t height = CVPixelBufferGetHeightOfPlane(buffer, plane);
    const size_t width = CVPixelBufferGetWidthOfPlane(buffer, plane);
    for (size_t row = 0; row < height; ++row) {
      for (size_t column = 0; column < width; ++column) {
        bytes[row * stride + column] =
            static_cast<uint8_t>(row * 3 + column * 5 + static_cast<size_t>(number) * 7);
      }
    }
  }
  EXPECT_EQ(CVPixelBufferUnlockBaseAddress(buffer, 0), kCVReturnSuccess);
}

IOSurfaceRef NewSurface(OSType format, int width, int height, bool global) {
  CFMutableDictionaryRef properties = NewDictionary();
  SetInt(properties, kIOSurfaceWidth, width);
  SetInt(properties, kIOSurfaceHeight, height);
  SetInt(properties, kIOSurfacePixelFormat, static_cast<int>(format));
  if (global) {
    CFDictionarySetValue(properties, kIOSurfaceIsGlobal, kCFBooleanTrue);
  }
  IOSurfaceRef surface = IOSurfaceCreate(properties);
  CFRelease(properties);
  EXPECT(surface != nullptr);
  return surface;
}

int DecodedPictures(CMVideoCodecType codec, const std::vector<Output> &outputs) {
  const AVCodec *decoder =
      avcodec_find_decoder(codec == kCMVideoCodecType_H264 ? AV_CODEC_ID_H264 : AV_CODEC_ID_HEVC);
  AVCodecContext *context = avcodec_alloc_context3(decoder);
  context->err_recognition = AV_EF_EXPLODE;
  context->thread_count = 1;
  EXPECT(avcodec_open2(context, decoder, nullptr) == 0);
  AVPacket *packet = av_packet_alloc();
  AVFrame *frame = av_frame_alloc();
  int pictures = 0;
  const auto receive = [&] {
    while (avcodec_receive_frame(context, frame) == 0) {
      ++pictures;
    }
  };
  for (const Output &output : outputs) {
    if (!output.has_sample) {
      continue;
    }
    EXPECT(av_new_packet(packet, static_cast<int>(output.annex_b.size())) == 0);
    memcpy(packet->data, output.annex_b.data(), output.annex_b.size());
    EXPECT(avcodec_send_packet(context, packet) == 0);
    av_packet_unref(packet);
    receive();
  }
  EXPECT(avcodec_send_packet(context, nullptr) == 0);
  receive();
  av_frame_free(&frame);
  av_packet_free(&packet);
  avcodec_free_context(&context);
  return pictures;
}

}  // namespace self_test
