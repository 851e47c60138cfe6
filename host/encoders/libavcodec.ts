/**
 * The libavcodec back end: one of its encoders, by name. libavcodec-profiles.ts has the differences between encoders;
 * opening, threads and conversion are the same for all (host/native/media/encoder/session.h has the theory of operation).
 */
import type { EncoderConfiguration, EncoderOffer } from "./encoder.ts";
import { ENCODER_PROFILES, type EncoderProfile, type LibavcodecEncoderName } from "./libavcodec-profiles.ts";
import { NativeBackend, type NativeBackendOptions } from "./native-backend.ts";
import type { LibavcodecSettings } from "./native-session.ts";
import type { StreamPlan } from "./plan.ts";
import { hasFixedRate } from "./settings.ts";

export interface LibavcodecOptions extends NativeBackendOptions {
  /** Threads of a session. Each beyond the first costs some quality, as every thread codes a slice. Default 1. */
  readonly threads?: number;
  /** Added to the encoder's private options, or replacing them. */
  readonly options?: Readonly<Record<string, string>>;
}

const MAX_THREADS = 64;

export class LibavcodecBackend extends NativeBackend {
  readonly name: LibavcodecEncoderName;
  protected readonly candidates: readonly EncoderOffer[];
  readonly #profile: EncoderProfile;
  readonly #threads: number;
  readonly #options: Readonly<Record<string, string>>;

  /** @throws RangeError for a number of threads that is not 1 … 64. */
  constructor(name: LibavcodecEncoderName, options: LibavcodecOptions = {}) {
    const threads = options.threads ?? 1;
    if (!Number.isInteger(threads) || threads < 1 || threads > MAX_THREADS) {
      throw new RangeError(`threads is ${threads}, expected a whole number from 1 to ${MAX_THREADS}`);
    }
    super(options);
    this.name = name;
    this.#profile = ENCODER_PROFILES[name];
    const { codec, hardware, maxWidth, maxHeight, profiles } = this.#profile;
    this.candidates = [{ name, codec, hardware, maxWidth, maxHeight, profiles }];
    this.#threads = threads;
    this.#options = options.options ?? {};
  }

  protected settings(configuration: EncoderConfiguration, plan: StreamPlan): LibavcodecSettings {
    const { input, liveRate, options } = this.#profile;
    const { rateControl } = configuration;
    const { profile, level } = plan;
    const threads = this.#threads;
    const fixedRate = hasFixedRate(configuration);
    return {
      backend: "libavcodec",
      name: this.name,
      input,
      liveRate: liveRate.includes(rateControl),
      threads,
      options: { ...options({ threads, profile, level, rateControl, fixedRate }), ...this.#options },
    };
  }
}
