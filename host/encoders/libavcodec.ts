/**
 * The libavcodec back end: one of its encoders, by name. What distinguishes them is in the table below; opening,
 * threads and conversion are the same for all (host/native/media/session.h has the theory of operation).
 */
import { LIMITS } from "../../proto/limits.ts";
import {
  type CodecName,
  type EncoderBackend,
  type EncoderConfiguration,
  type EncoderEvents,
  type EncoderOffer,
  type EncoderSession,
  EncoderUnavailableError,
} from "./encoder.ts";
import { LibavcodecSession } from "./libavcodec-session.ts";
import type { NativeSettings } from "./native-session.ts";
import {
  bitsPerSecond,
  checkConfiguration,
  encodedColorimetry,
  keyframeInterval,
  nominalFramerate,
  pixelAspectRatio,
} from "./settings.ts";

/** How one of libavcodec's encoders is used. */
interface EncoderProfile {
  readonly codec: CodecName;
  readonly hardware: boolean;
  readonly maxWidth: number;
  readonly maxHeight: number;
  /** Private options (`ffmpeg -h encoder=NAME`). They must make it give each frame's access unit at once. */
  readonly options: Readonly<Record<string, string>>;
}

/** A new encoder is an entry here. */
const ENCODERS = {
  libx264: {
    codec: "h264",
    hardware: false,
    maxWidth: LIMITS.MAX_DIMENSION,
    maxHeight: LIMITS.MAX_DIMENSION,
    options: {
      // On one thread of a 2-core machine, 1080p at 8 Mbit/s: ultrafast 4.1 ms a frame and 39.4 dB, superfast 8.3 ms
      // and 40.3 dB, veryfast 11.4 ms and 40.9 dB. A host serves many guests: the decibel is not worth the double.
      preset: "ultrafast",
      // No look-ahead, no B frames, no frame threads, rate control by frame numbers.
      tune: "zerolatency",
      "forced-idr": "1",
      // Key frames come when they are asked for, not when the picture changes.
      "x264-params": "scenecut=0",
    },
  },
} as const satisfies Record<string, EncoderProfile>;

/** An encoder of libavcodec that this back end knows how to use. */
export type LibavcodecEncoderName = keyof typeof ENCODERS;

/** All that are known, best first. */
export const LIBAVCODEC_ENCODERS = Object.keys(ENCODERS) as readonly LibavcodecEncoderName[];

export interface LibavcodecOptions {
  /** Threads a session; each beyond the first costs some quality, as every thread codes a slice. Default 1. */
  readonly threads?: number;
  /** Encode 0 … 255 instead of 16 … 235. Default false. */
  readonly fullRange?: boolean;
  /** Added to the encoder's private options, or instead of them. */
  readonly options?: Readonly<Record<string, string>>;
}

const MAX_THREADS = 64;

/** Large enough for any encoder's least size. */
const PROBE: EncoderConfiguration = {
  codec: "h264",
  width: 256,
  height: 256,
  framerate: { numerator: 30, denominator: 1 },
  bitrateKbps: 1000,
  keyframeInterval: 30,
  colorimetry: { primaries: 0, transfer: 0, matrix: 0, fullRange: false },
  pixelAspectRatio: { numerator: 1, denominator: 1 },
};

const NO_EVENTS: EncoderEvents = {
  onFrameRead() {},
  onPacket() {},
  onDropped() {},
  onError() {},
};

export class LibavcodecBackend implements EncoderBackend {
  readonly name: LibavcodecEncoderName;
  readonly #profile: EncoderProfile;
  readonly #threads: number;
  readonly #fullRange: boolean;
  readonly #options: Readonly<Record<string, string>>;
  #offers: Promise<readonly EncoderOffer[]> | undefined;

  /** @throws RangeError for a number of threads that is not 1 … 64. */
  constructor(name: LibavcodecEncoderName, options: LibavcodecOptions = {}) {
    const threads = options.threads ?? 1;
    if (!Number.isInteger(threads) || threads < 1 || threads > MAX_THREADS) {
      throw new RangeError(`threads is ${threads}, not a whole number from 1 to ${MAX_THREADS}`);
    }
    this.name = name;
    this.#profile = ENCODERS[name];
    this.#threads = threads;
    this.#fullRange = options.fullRange ?? false;
    this.#options = { ...this.#profile.options, ...options.options };
  }

  offers(): Promise<readonly EncoderOffer[]> {
    this.#offers ??= this.#probe();
    return this.#offers;
  }

  async #probe(): Promise<readonly EncoderOffer[]> {
    const { codec, hardware, maxWidth, maxHeight } = this.#profile;
    try {
      const session = await this.open({ ...PROBE, codec }, NO_EVENTS);
      await session.close();
    } catch {
      // Not on this machine. Whoever asks for it nevertheless gets the reason from open().
      return [];
    }
    return [{ name: this.name, codec, hardware, maxWidth, maxHeight }];
  }

  async open(configuration: EncoderConfiguration, events: EncoderEvents): Promise<EncoderSession> {
    return await LibavcodecSession.open(
      (wanted) => this.#settings(wanted),
      this.#profile.hardware,
      configuration,
      events,
    );
  }

  /** @throws EncoderUnavailableError when this encoder cannot do it. */
  #settings(configuration: EncoderConfiguration): NativeSettings {
    const { codec, maxWidth, maxHeight } = this.#profile;
    if (configuration.codec !== codec) {
      throw new EncoderUnavailableError(`it makes ${codec}, not ${configuration.codec}`);
    }
    checkConfiguration(configuration);
    if (configuration.width > maxWidth || configuration.height > maxHeight) {
      throw new EncoderUnavailableError(
        `${configuration.width}x${configuration.height} is above its ${maxWidth}x${maxHeight}`,
      );
    }
    return {
      name: this.name,
      width: configuration.width,
      height: configuration.height,
      framerate: nominalFramerate(configuration),
      pixelAspectRatio: pixelAspectRatio(configuration),
      colorimetry: encodedColorimetry(configuration, this.#fullRange),
      bitsPerSecond: bitsPerSecond(configuration),
      keyframeInterval: keyframeInterval(configuration),
      threads: this.#threads,
      options: this.#options,
    };
  }
}
