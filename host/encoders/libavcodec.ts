/**
 * The libavcodec back end: one of its encoders, by name. What distinguishes them is in libavcodec-profiles.ts;
 * opening, threads and conversion are the same for all (host/native/media/encoder/session.h has the theory of operation).
 */
import {
  type EncoderConfiguration,
  type EncoderEvents,
  type EncoderOffer,
  type EncoderSession,
  EncoderUnavailableError,
} from "./encoder.ts";
import { ENCODER_PROFILES, type EncoderProfile, type LibavcodecEncoderName } from "./libavcodec-profiles.ts";
import { NativeEncoderSession, type PreparedStream } from "./native-encoder-session.ts";
import type { LibavcodecSettings } from "./native-session.ts";
import { planStream } from "./plan.ts";
import { type OnUnavailable, ProbedBackend } from "./probed-backend.ts";
import { encodedColorimetry, hasFixedRate, isRgb, nominalFramerate, pixelAspectRatio } from "./settings.ts";

export interface LibavcodecOptions {
  /** Threads a session; each beyond the first costs some quality, as every thread codes a slice. Default 1. */
  readonly threads?: number;
  /** Encode RGB as 0 … 255 instead of 16 … 235 (NV12 and I420 keep their range). Default false. */
  readonly fullRange?: boolean;
  readonly onUnavailable?: OnUnavailable;
  /** Added to the encoder's private options, or instead of them. */
  readonly options?: Readonly<Record<string, string>>;
}

const MAX_THREADS = 64;

export class LibavcodecBackend extends ProbedBackend {
  readonly name: LibavcodecEncoderName;
  protected readonly candidates: readonly EncoderOffer[];
  readonly #profile: EncoderProfile;
  readonly #threads: number;
  readonly #fullRange: boolean;
  readonly #options: Readonly<Record<string, string>>;

  /** @throws RangeError for a number of threads that is not 1 … 64. */
  constructor(name: LibavcodecEncoderName, options: LibavcodecOptions = {}) {
    const threads = options.threads ?? 1;
    if (!Number.isInteger(threads) || threads < 1 || threads > MAX_THREADS) {
      throw new RangeError(`threads is ${threads}, not a whole number from 1 to ${MAX_THREADS}`);
    }
    super(options.onUnavailable);
    this.name = name;
    this.#profile = ENCODER_PROFILES[name];
    const { codec, hardware, maxWidth, maxHeight, profiles } = this.#profile;
    this.candidates = [{ name, codec, hardware, maxWidth, maxHeight, profiles }];
    this.#threads = threads;
    this.#fullRange = options.fullRange ?? false;
    this.#options = options.options ?? {};
  }

  async open(configuration: EncoderConfiguration, events: EncoderEvents): Promise<EncoderSession> {
    return await NativeEncoderSession.open(
      (wanted, current) => this.#prepare(wanted, current),
      this.#profile.hardware,
      configuration,
      events,
    );
  }

  /** @throws EncoderUnavailableError when this encoder cannot do it. */
  #prepare(configuration: EncoderConfiguration, current: number | undefined): PreparedStream {
    const { codec, profiles, maxWidth, maxHeight, input, liveRate, options } = this.#profile;
    if (configuration.codec !== codec) {
      throw new EncoderUnavailableError(`it makes ${codec}, not ${configuration.codec}`);
    }
    const plan = planStream(configuration, profiles, current);
    const { width, height, rateControl } = configuration;
    if (width > maxWidth || height > maxHeight) {
      throw new EncoderUnavailableError(`${width}x${height} is above its ${maxWidth}x${maxHeight}`);
    }
    const fixedRate = hasFixedRate(configuration);
    const { profile, level } = plan;
    const threads = this.#threads;
    const settings: LibavcodecSettings = {
      backend: "libavcodec",
      name: this.name,
      width,
      height,
      framerate: nominalFramerate(configuration),
      fixedRate,
      pixelAspectRatio: pixelAspectRatio(configuration),
      colorimetry: encodedColorimetry(configuration, this.#fullRange),
      rgb: isRgb(configuration),
      input,
      liveRate: liveRate.includes(rateControl),
      rates: plan.rates,
      keyframeInterval: plan.keyframeInterval,
      threads,
      options: { ...options({ threads, profile, level, rateControl, fixedRate }), ...this.#options },
    };
    return { plan, rateControl, settings };
  }
}
