// Pixels of every kind, in memory and in surfaces of another process.
#include <libyuv/planar_functions.h>

#include <tuple>

#include "../support/new_surface.h"
#include "harness.h"
#include "memory/pixel_memory.h"
#include "pixel_buffer.h"
#include "status.h"
#include "surface.h"

namespace harness {
namespace {

constexpr char kSet[] = "inputs";

Settings For(const PixelFormat &format, int width, int height, bool full_range) {
  Settings settings = Small(format.is_rgb());
  settings.width = width;
  settings.height = height;
  settings.colour.full_range = full_range;
  return settings;
}

void EveryFormat(const std::string &script, uint64_t transfers_each) {
  for (const PixelFormat &format : PixelFormats()) {
    for (const int odd : {0, 1}) {
      for (const bool full_range : {false, true}) {
        Stream stream(script, For(format, 160 + odd, 120 + odd, full_range));
        stream.format = &format;
        stream.EncodeAll(0, 3);
        stream.ExpectWhole(3);
        const auto what = std::string(format.name) + (odd == 1 ? ", odd" : "");
        Expect(Counters().transfers == (format.is_rgb() ? 3 * transfers_each : 0),
               what + ": another number of conversions");
        Expect(Counters().untagged_frames == 0 && Counters().converted_frames == 0,
               what + ": not as the encoder wants it");
      }
    }
  }
}

// A surface of another process, which draws into it.
class Shared {
 public:
  Shared(OSType type, int width, int height, bool global = true)
      : surface_(NewSurface(type, width, height, global)) {}
  uint32_t id() const { return IOSurfaceGetID(surface_.get()); }
  int uses() const { return IOSurfaceGetUseCount(surface_.get()); }

  void Draw(const PixelFormat &format, int width, int height, int number) {
    Staging staging;
    const auto picture = harness::Draw(format, width, height, number);
    const Pixels pixels = picture->Read(staging);
    IOSurfaceLock(surface_.get(), 0, nullptr);
    for (size_t plane = 0; plane < format.planes; ++plane) {
      const auto [data, stride] = pixels.planes[plane];
      const PlaneShape &shape = format.shapes[plane];
      libyuv::CopyPlane(
          data, stride,
          static_cast<uint8_t *>(IOSurfaceGetBaseAddressOfPlane(surface_.get(), plane)),
          static_cast<int>(IOSurfaceGetBytesPerRowOfPlane(surface_.get(), plane)),
          static_cast<int>(shape.RowBytes(static_cast<uint64_t>(width))),
          static_cast<int>(shape.Rows(static_cast<uint64_t>(height))));
    }
    IOSurfaceUnlock(surface_.get(), 0, nullptr);
  }

 private:
  CfRef<IOSurfaceRef> surface_;
};

// With the name of the format and whether it has full range.
constexpr std::tuple<OSType, const char *, bool> kKinds[] = {
    {kCVPixelFormatType_32BGRA, "BGRA", false},
    {kCVPixelFormatType_32RGBA, "RGBA", false},
    {kCVPixelFormatType_32ARGB, "ARGB", false},
    {kCVPixelFormatType_32ABGR, "ABGR", false},
    {kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange, "NV12", false},
    {kCVPixelFormatType_420YpCbCr8BiPlanarFullRange, "NV12", true},
};

void Surfaces(const std::string &script, int width, int height, bool transferred) {
  for (const auto &[type, name, full_range] : kKinds) {
    const PixelFormat &format = FormatNamed(name);
    Shared shared(type, width, height);
    {
      Stream stream(script, For(format, width, height, full_range));
      stream.format = &format;
      const auto surface = std::make_shared<const Surface>(shared.id());
      Expect(shared.uses() > 0, "the use count is not raised");
      for (uint32_t i = 0; i < 4; ++i) {
        // The last frame may be under way still: its surface is free all the same.
        shared.Draw(format, width, height, static_cast<int>(i));
        stream.Encode(i, surface);
        Expect(stream.events().read.size() == i + 1,
               "Encode returns with a surface that is not read");
      }
      stream.ExpectWhole(4);
    }
    Expect(shared.uses() == 0, "the surface stays in use");
    Expect(vt_shim_surface_references(shared.id()) == 1, "a reference to the surface is left");
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

TEST(surfaces_that_are_refused) {
  uint32_t dead;
  {
    const Shared shared(kCVPixelFormatType_32BGRA, 64, 64);
    dead = shared.id();
  }
  ExpectHas(SurfaceError(dead), "cannot be found");
  const Shared local(kCVPixelFormatType_32BGRA, 64, 64, false);
  ExpectHas(SurfaceError(local.id()), "kIOSurfaceIsGlobal");
  const Shared unknown(kCVPixelFormatType_422YpCbCr8, 64, 64);
  ExpectHas(SurfaceError(unknown.id()), "pixels of type 2vuy");
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
TEST(surfaces_that_do_not_fit_the_stream) {
  const Shared yuv(kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange, 160, 120);
  const Shared small(kCVPixelFormatType_32BGRA, 80, 60);
  const Shared good(kCVPixelFormatType_32BGRA, 160, 120);
  Stream stream;
  stream.Encode(0, std::make_shared<const Surface>(yuv.id()));
  stream.Encode(1, std::make_shared<const Surface>(small.id()));
  stream.Encode(2, std::make_shared<const Surface>(good.id()));
  const Events events = stream.Finish();
  Expect(events.failed.size() == 2 && events.packets.size() == 1 && !stream.encoder.failure(),
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
TEST(surfaces_of_another_range) {
  const PixelFormat &format = FormatNamed("NV12");
  Shared shared(kCVPixelFormatType_420YpCbCr8BiPlanarFullRange, 160, 120);
  shared.Draw(format, 160, 120, 0);
  Stream stream("transfer:2+:-12905", For(format, 160, 120, false));
  const auto surface = std::make_shared<const Surface>(shared.id());
  stream.Encode(0, surface);
  stream.Encode(1, surface);
  const Events events = stream.Finish();
  Expect(events.packets.size() == 1, "a surface of full range is not converted");
  ExpectHas(events.failed.at(1), "range");
  const FramePointer unchanged = Expected(format, 160, 120, 0, false);
  const FramePointer limited = Expected(format, 160, 120, 0, false);
  ToLimited(*limited);
  const FramePointer decoded = std::move(Decode(Codec::kH264, events.packets)[0]);
  Expect(Likeness(*decoded, *limited) > Likeness(*decoded, *unchanged) + 3,
         "the range is not converted");
}

void Converts(const char *script, uint64_t transfers) {
  Stream stream(script);
  stream.EncodeAll(0, 4);
  stream.ExpectWhole(4);
  Expect(Counters().transfers == transfers, "another number of conversions");
}

// Another session converts the next frame; the frame in between is converted here.
TEST(a_conversion_that_fails_once) {
  Converts("transfer:2:-12903", 3);
}

TEST(a_conversion_that_is_not_supported_is_not_tried_again) {
  Converts("transfer:1:-12905", 0);
}

[[maybe_unused]] const bool added = [] {
  static constexpr char kNone[] = "transfer:*:-12905";
  Add(kSet, "every format", [] { EveryFormat("", 1); });
  Add(kSet, "every format, without conversion", [] { EveryFormat(kNone, 0); });
  Add(kSet, "surfaces", [] { Surfaces("", 160, 120, true); });
  Add(kSet, "surfaces, slow encoder", [] { Surfaces("delay:*:20", 160, 120, true); });
  Add(kSet, "surfaces, without conversion", [] { Surfaces(kNone, 160, 120, false); });
  Add(kSet, "surfaces of odd size", [] { Surfaces("", 161, 121, false); });
  return true;
}();

}  // namespace
}  // namespace harness
