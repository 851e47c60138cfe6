/**
 * The VideoToolbox back end: a Mac's media engine, H.264 and HEVC. Native code chooses the system's encoder, and handles
 * what it rejects and lost sessions (host/native/videotoolbox/encoder.h has the theory of operation). Apple's software
 * encoders are never used.
 */
import { PROFILES } from "../../common/codec.ts";
import type { EncoderOffer } from "./encoder.ts";
import { type BackendSettings, hasVideoToolbox, NativeBackend } from "./native.ts";

/** The largest sizes, in pixels, are those of an M1 Pro's engine in real time. */
const ENGINE = { name: "videotoolbox", hardware: true, maxWidth: 4096, maxHeight: 2304 } as const;

export class VideoToolboxBackend extends NativeBackend {
  readonly name = "videotoolbox";
  protected readonly candidates: readonly EncoderOffer[] = [
    // High comes first: low-latency rate control supports no other.
    { ...ENGINE, codec: "h264", profiles: ["high", "main", "constrained-baseline"] },
    { ...ENGINE, codec: "h265", profiles: PROFILES.h265, maxWidth: 8192, maxHeight: 4352 },
  ];

  protected override get absence(): string | undefined {
    return hasVideoToolbox() ? undefined : "it needs macOS: this host's native addon was built without it";
  }

  protected settings(): BackendSettings {
    return { backend: "videotoolbox" };
  }
}
