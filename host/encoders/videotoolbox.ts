/**
 * The VideoToolbox back end: a Mac's media engine, H.264 and HEVC. Which encoder of the system it is, what it refuses
 * and what becomes of a session that is lost is decided natively (host/native/videotoolbox/encoder.h has the theory of
 * operation). Apple's software encoders are never taken.
 */
import { type CodecName, PROFILES, type ProfileName } from "../../common/codec.ts";
import {
  type EncoderConfiguration,
  type EncoderEvents,
  type EncoderSession,
  EncoderUnavailableError,
} from "./encoder.ts";
import { NativeEncoderSession, type PreparedStream } from "./native-encoder-session.ts";
import { hasVideoToolbox, type VideoToolboxSettings } from "./native-session.ts";
import { planStream } from "./plan.ts";
import { type OnUnavailable, ProbedBackend } from "./probed-backend.ts";
import { encodedColorimetry, hasFixedRate, isRgb, nominalFramerate, pixelAspectRatio } from "./settings.ts";

export interface VideoToolboxOptions {
  /** Encode RGB as 0 … 255 instead of 16 … 235 (NV12 and I420 keep their range). Default false. */
  readonly fullRange?: boolean;
  readonly onUnavailable?: OnUnavailable;
}

interface CodecTraits {
  readonly profiles: readonly ProfileName[];
  /** In pixels, of an M1 Pro's engine in real time. */
  readonly maxWidth: number;
  readonly maxHeight: number;
}

const TRAITS: Readonly<Record<CodecName, CodecTraits>> = {
  // High comes first: low-latency rate control makes no other.
  h264: { profiles: ["high", "main", "constrained-baseline"], maxWidth: 4096, maxHeight: 2304 },
  h265: { profiles: PROFILES.h265, maxWidth: 8192, maxHeight: 4352 },
};

const CODECS: readonly CodecName[] = ["h264", "h265"];

export class VideoToolboxBackend extends ProbedBackend {
  readonly name = "videotoolbox";
  protected readonly candidates = CODECS.map((codec) => ({
    name: this.name,
    codec,
    hardware: true,
    ...TRAITS[codec],
  }));
  readonly #fullRange: boolean;

  constructor(options: VideoToolboxOptions = {}) {
    super(options.onUnavailable);
    this.#fullRange = options.fullRange ?? false;
  }

  async open(configuration: EncoderConfiguration, events: EncoderEvents): Promise<EncoderSession> {
    if (!hasVideoToolbox()) {
      throw new EncoderUnavailableError(
        "it is macOS's; the native addon of this machine is built without it",
      );
    }
    return await NativeEncoderSession.open(
      (wanted, current) => this.#prepare(wanted, current),
      true,
      configuration,
      events,
    );
  }

  /** @throws EncoderUnavailableError when VideoToolbox cannot do it. */
  #prepare(configuration: EncoderConfiguration, current: number | undefined): PreparedStream {
    const { codec, width, height, rateControl } = configuration;
    const { profiles, maxWidth, maxHeight } = TRAITS[codec];
    const plan = planStream(configuration, profiles, current);
    if (width > maxWidth || height > maxHeight) {
      throw new EncoderUnavailableError(`${width}x${height} is above its ${maxWidth}x${maxHeight}`);
    }
    const settings: VideoToolboxSettings = {
      backend: "videotoolbox",
      codec,
      profile: plan.profile,
      width,
      height,
      framerate: nominalFramerate(configuration),
      fixedRate: hasFixedRate(configuration),
      pixelAspectRatio: pixelAspectRatio(configuration),
      colorimetry: encodedColorimetry(configuration, this.#fullRange),
      rgb: isRgb(configuration),
      rates: plan.rates,
      keyframeInterval: plan.keyframeInterval,
    };
    return { plan, rateControl, settings };
  }
}
