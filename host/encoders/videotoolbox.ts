/**
 * The VideoToolbox back end: a Mac's media engine, H.264 and HEVC. Native code chooses the system's encoder, and handles
 * what it rejects and lost sessions (host/native/videotoolbox/encoder.h has the theory of operation). Apple's software
 * encoders are never used.
 */
import { PROFILES } from "../../common/codec.ts";
import {
  type EncoderConfiguration,
  type EncoderListener,
  type EncoderOffer,
  type EncoderSession,
  EncoderUnavailableError,
} from "./encoder.ts";
import { NativeBackend } from "./native-backend.ts";
import { hasVideoToolbox, type VideoToolboxSettings } from "./native-session.ts";
import type { StreamPlan } from "./plan.ts";

export class VideoToolboxBackend extends NativeBackend {
  readonly name = "videotoolbox";
  /** The largest sizes, in pixels, are those of an M1 Pro's engine in real time. */
  protected readonly candidates: readonly EncoderOffer[] = [
    {
      name: this.name,
      codec: "h264",
      hardware: true,
      // High comes first: low-latency rate control supports no other.
      profiles: ["high", "main", "constrained-baseline"],
      maxWidth: 4096,
      maxHeight: 2304,
    },
    {
      name: this.name,
      codec: "h265",
      hardware: true,
      profiles: PROFILES.h265,
      maxWidth: 8192,
      maxHeight: 4352,
    },
  ];

  override async open(
    configuration: EncoderConfiguration,
    listener: EncoderListener,
  ): Promise<EncoderSession> {
    if (hasVideoToolbox()) return await super.open(configuration, listener);
    throw new EncoderUnavailableError("it needs macOS: this host's native addon was built without it");
  }

  protected settings({ codec }: EncoderConfiguration, { profile }: StreamPlan): VideoToolboxSettings {
    return { backend: "videotoolbox", codec, profile };
  }
}
