// Pixels of every kind, in memory and in surfaces of another process.
#include <cstring>

#include "harness.h"
#include "memory/pixel_memory.h"
#include "pixel_buffer.h"
#include "status.h"
#include "surface.h"

namespace harness {
namespace {

constexpr double kAlike = 35;  // dB

Settings For(const PixelFormat &format, int width, int height, bool full_range) {
  Settings settings = Small(format.is_rgb());
  settings.width = width;
  settings.height = height;
  settings.colour.full_range = full_range;
  return settings;
}

void EveryFormat(const std::string &script, uint64_t transfers_each) {
  for (const PixelFormat &format : PixelFormats()) {
    for (const bool odd : {false, true}) {
      for (const bool full_range : {false, true}) {
        const std::string what = std::string(format.name) + (odd ? ", odd" : "");
        vt_shim_set_script(script.c_str());
        vt_shim_reset_counters();
        const Settings settings = For(format, odd ? 161 : 160, odd ? 121 : 120, full_range);
        Recorder recorder;
        Encoder encoder(settings, recorder, Hasty());
        for (uint32_t i = 0; i < 3; ++i) EncodeOne(encoder, settings, i, false, format.name);
        encoder.Finish();
        const auto pictures = Decode(Codec::kH264, recorder.packets());
        Expect(pictures.size() == 3, what + ": frames are lost");
        for (int i = 0; i < 3; ++i) {
          const auto expected = Expected(format, settings.width, settings.height, i, full_range);
          const double likeness = Likeness(*pictures[static_cast<size_t>(i)], *expected);
          Expect(likeness > kAlike, what + ": another picture, " + std::to_string(likeness));
        }
        Expect(Counters().transfers == (format.is_rgb() ? 3 * transfers_each : 0),
               what + ": another number of conversions");
        Expect(Counters().untagged_frames == 0 && Counters().converted_frames == 0,
               what + ": not as the encoder wants it");
      }
    }
  }
}

// A surface as another process would make it, and draw into it.
class Shared {
 public:
  Shared(OSType type, int width, int height, bool global = true) {
    const auto pixel_format = static_cast<int32_t>(type);
    surface_ = CfRef<IOSurfaceRef>::Adopt(IOSurfaceCreate(
        Dictionary({
                       {kIOSurfaceWidth, Number(int32_t{width}).get()},
                       {kIOSurfaceHeight, Number(int32_t{height}).get()},
                       {kIOSurfacePixelFormat, Number(pixel_format).get()},
                       {kIOSurfaceBytesPerElement, Number(int32_t{4}).get()},
                       {kIOSurfaceIsGlobal, global ? kCFBooleanTrue : kCFBooleanFalse},
                   })
            .get()));
    Expect(static_cast<bool>(surface_), "no surface can be made");
  }
  uint32_t id() const { return IOSurfaceGetID(surface_.get()); }
  int uses() const { return IOSurfaceGetUseCount(surface_.get()); }

  void Draw(const PixelFormat &format, int width, int height, int number) {
    Staging staging;
    const auto picture = harness::Draw(format, width, height, number);
    const Pixels pixels = picture->Read(staging);
    IOSurfaceLock(surface_.get(), 0, nullptr);
    for (size_t plane = 0; plane < format.planes; ++plane) {
      const bool planar = IOSurfaceGetPlaneCount(surface_.get()) > 0;
      auto *to =
          static_cast<uint8_t *>(planar ? IOSurfaceGetBaseAddressOfPlane(surface_.get(), plane)
                                        : IOSurfaceGetBaseAddress(surface_.get()));
      const size_t stride = planar ? IOSurfaceGetBytesPerRowOfPlane(surface_.get(), plane)
                                   : IOSurfaceGetBytesPerRow(surface_.get());
      const PlaneShape &shape = format.shapes[plane];
      for (uint64_t y = 0; y < shape.Rows(static_cast<uint64_t>(height)); ++y) {
        std::memcpy(
            to + y * stride,
            pixels.planes[plane].data + y * static_cast<uint64_t>(pixels.planes[plane].stride),
            shape.RowBytes(static_cast<uint64_t>(width)));
      }
    }
    IOSurfaceUnlock(surface_.get(), 0, nullptr);
  }

 private:
  CfRef<IOSurfaceRef> surface_;
};

struct Kind {
  OSType type;
  const char *format;
  bool full_range;
};
constexpr Kind kKinds[] = {
    {kCVPixelFormatType_32BGRA, "BGRA", false},
    {kCVPixelFormatType_32RGBA, "RGBA", false},
    {kCVPixelFormatType_32ARGB, "ARGB", false},
    {kCVPixelFormatType_32ABGR, "ABGR", false},
    {kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange, "NV12", false},
    {kCVPixelFormatType_420YpCbCr8BiPlanarFullRange, "NV12", true},
};

void EncodeSurface(Encoder &encoder, std::shared_ptr<const Surface> surface, uint32_t number) {
  encoder.Encode({.frame = number,
                  .source = std::move(surface),
                  .force_key = false,
                  .queued = FrameClock::now()});
}

void Surfaces(const std::string &script, int width, int height, bool transferred) {
  for (const Kind &kind : kKinds) {
    vt_shim_set_script(script.c_str());
    vt_shim_reset_counters();
    const PixelFormat &format = FormatNamed(kind.format);
    const Settings settings = For(format, width, height, kind.full_range);
    Shared shared(kind.type, width, height);
    Recorder recorder;
    {
      Encoder encoder(settings, recorder, Hasty());
      const auto surface = std::make_shared<const Surface>(shared.id());
      Expect(shared.uses() > 0, "the use count is not raised");
      for (uint32_t i = 0; i < 4; ++i) {
        // The last frame may be under way still: its surface is free all the same.
        shared.Draw(format, width, height, static_cast<int>(i));
        EncodeSurface(encoder, surface, i);
        Expect(recorder.reads() == i + 1, "Encode returns with a surface that is not read");
      }
      encoder.Finish();
    }
    Expect(shared.uses() == 0, "the surface stays in use");
    Expect(vt_shim_surface_references(shared.id()) == 1, "a reference to the surface is left");
    const auto pictures = Decode(Codec::kH264, recorder.packets());
    Expect(pictures.size() == 4, "frames are lost");
    for (int i = 0; i < 4; ++i) {
      const auto expected = Expected(format, width, height, i, kind.full_range);
      const double likeness = Likeness(*pictures[static_cast<size_t>(i)], *expected);
      Expect(likeness > kAlike,
             std::string(kind.format) + ": another picture, " + std::to_string(likeness));
    }
    Expect(Counters().transfers == (transferred ? 4 : 0), "another number of conversions");
    Expect(Counters().converted_frames == 0 && Counters().untagged_frames == 0,
           "not as the encoder wants it");
  }
}

std::string SurfaceError(uint32_t id) {
  try {
    const Surface surface(id);
  } catch (const PictureError &error) {
    return error.what();
  }
  Expect(false, "a surface that cannot be used is taken");
  return {};
}

void RefusedSurfaces() {
  uint32_t dead;
  {
    const Shared shared(kCVPixelFormatType_32BGRA, 64, 64);
    dead = shared.id();
  }
  Expect(SurfaceError(dead).find("cannot be found") != std::string::npos, "a dead surface");
  const Shared local(kCVPixelFormatType_32BGRA, 64, 64, false);
  Expect(SurfaceError(local.id()).find("kIOSurfaceIsGlobal") != std::string::npos, "a local one");
  const Shared unknown(kCVPixelFormatType_422YpCbCr8, 64, 64);
  Expect(SurfaceError(unknown.id()).find("pixels of type 2vuy") != std::string::npos,
         "unsupported pixels");
  Expect(vt_shim_surface_references(unknown.id()) == 1 && unknown.uses() == 0,
         "a refused surface is held");
  const Shared twice(kCVPixelFormatType_32BGRA, 64, 64);
  {
    const Surface one(twice.id());
    const Surface other(twice.id());
    Expect(vt_shim_surface_references(twice.id()) == 3, "two lookups do not give two references");
    Expect(twice.uses() == 2, "two users are not counted as two");
  }
  Expect(vt_shim_surface_references(twice.id()) == 1 && twice.uses() == 0,
         "a released surface is held");
}

// Each costs its frame alone.
void MismatchedSurfaces() {
  const Settings settings = Small();
  const Shared yuv(kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange, 160, 120);
  const Shared small(kCVPixelFormatType_32BGRA, 80, 60);
  const Shared good(kCVPixelFormatType_32BGRA, 160, 120);
  Recorder recorder;
  Encoder encoder(settings, recorder, Hasty());
  EncodeSurface(encoder, std::make_shared<const Surface>(yuv.id()), 0);
  EncodeSurface(encoder, std::make_shared<const Surface>(small.id()), 1);
  EncodeSurface(encoder, std::make_shared<const Surface>(good.id()), 2);
  encoder.Finish();
  Expect(recorder.failed().size() == 2 && recorder.packets().size() == 1 && !encoder.failure(),
         "a surface that does not fit is not refused by itself");
  Expect(Counters().sessions_created == 1, "it costs a session");
}

// 0 … 255 to 16 … 235, and 16 … 240 for chroma.
void ToLimited(AVFrame &frame) {
  for (int plane = 0; plane < 3; ++plane) {
    const int rows = plane == 0 ? frame.height : frame.height / 2;
    for (int i = 0; i < rows * frame.linesize[plane]; ++i) {
      uint8_t &sample = frame.data[plane][i];
      sample = static_cast<uint8_t>(plane == 0 ? 16 + sample * 219 / 255
                                               : 128 + (sample - 128) * 224 / 255);
    }
  }
}

// Range and YUV are converted where VideoToolbox does that, and refused where it does not.
void OtherRange() {
  const Settings settings = For(FormatNamed("NV12"), 160, 120, false);
  Shared shared(kCVPixelFormatType_420YpCbCr8BiPlanarFullRange, 160, 120);
  shared.Draw(FormatNamed("NV12"), 160, 120, 0);
  Recorder recorder;
  vt_shim_set_script("transfer:2+:-12905");
  Encoder encoder(settings, recorder, Hasty());
  const auto surface = std::make_shared<const Surface>(shared.id());
  EncodeSurface(encoder, surface, 0);
  EncodeSurface(encoder, surface, 1);
  encoder.Finish();
  Expect(recorder.packets().size() == 1, "a surface of full range is not converted");
  Expect(recorder.failed().at(1).find("range") != std::string::npos,
         "samples of another range are passed off as the stream's");
  const FramePointer unchanged = Expected(FormatNamed("NV12"), 160, 120, 0, false);
  const FramePointer limited = Expected(FormatNamed("NV12"), 160, 120, 0, false);
  ToLimited(*limited);
  const FramePointer decoded = std::move(Decode(Codec::kH264, recorder.packets())[0]);
  Expect(Likeness(*decoded, *limited) > Likeness(*decoded, *unchanged) + 3,
         "the range is not converted");
}

// After one error another session converts; the frame in between is converted here.
void TransferSessionIsReplaced() {
  vt_shim_set_script("transfer:2:-12903");
  const Settings settings = Small();
  Recorder recorder;
  Encoder encoder(settings, recorder, Hasty());
  for (uint32_t i = 0; i < 4; ++i) EncodeOne(encoder, settings, i);
  encoder.Finish();
  Expect(recorder.packets().size() == 4 && Counters().transfers == 3,
         "one error of the conversion lasts");
}

// An unsupported conversion is not tried again.
void TransferIsNotSupported() {
  vt_shim_set_script("transfer:1:-12905");
  const Settings settings = Small();
  Recorder recorder;
  Encoder encoder(settings, recorder, Hasty());
  for (uint32_t i = 0; i < 4; ++i) EncodeOne(encoder, settings, i);
  encoder.Finish();
  Expect(recorder.packets().size() == 4 && Counters().transfers == 0,
         "a conversion that is not supported is tried with each frame");
}

}  // namespace

void AddInputs(std::vector<Case> &cases) {
  cases.push_back({"every format", [] { EveryFormat("", 1); }});
  cases.push_back(
      {"every format, without conversion", [] { EveryFormat("transfer:*:-12905", 0); }});
  cases.push_back({"surfaces", [] { Surfaces("", 160, 120, true); }});
  cases.push_back({"surfaces, slow encoder", [] { Surfaces("delay:*:20", 160, 120, true); }});
  cases.push_back(
      {"surfaces, without conversion", [] { Surfaces("transfer:*:-12905", 160, 120, false); }});
  cases.push_back({"surfaces of odd size", [] { Surfaces("", 161, 121, false); }});
  cases.push_back({"surfaces that are refused", RefusedSurfaces});
  cases.push_back({"surfaces that do not fit the stream", MismatchedSurfaces});
  cases.push_back({"surfaces of another range", OtherRange});
  cases.push_back({"a conversion that fails once", TransferSessionIsReplaced});
  cases.push_back({"a conversion that is not supported", TransferIsNotSupported});
}

}  // namespace harness
