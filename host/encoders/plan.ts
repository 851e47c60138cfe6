/** The properties that receivers of a stream rely on, the same for every back end: profile, level, rates. */
import type { ProfileName } from "../../common/codec.ts";
import { type EncoderConfiguration, EncoderUnavailableError } from "./encoder.ts";
import { chooseLevel, mostBitsPerSecond } from "./levels.ts";
import { checkConfiguration, keyframeInterval, nominalFramerate } from "./settings.ts";

/** The limits of rate control. */
export interface Rates {
  /** On average. */
  readonly bitsPerSecond: number;
  /** Maximum, over the buffer. */
  readonly peakBitsPerSecond: number;
  /** Size of the decoder's buffer for coded pictures (VBV), and so roughly of the largest access unit. */
  readonly bufferBits: number;
}

export interface StreamPlan {
  readonly profile: ProfileName;
  /** level_idc or general_level_idc, see levels.ts. */
  readonly level: number;
  readonly rates: Rates;
  /** Frames. */
  readonly keyframeInterval: number;
}

/** Bits a pixel: 10 Mbit/s at 1920×1080 and 60 frames a second. */
const DEFAULT_BITS_PER_PIXEL = 0.08;
const DEFAULT_BITRATE_KBPS = { least: 300, most: 100_000 };

/**
 * `peak` is a multiple of the average bit rate; the buffer holds `bufferSeconds` of it.
 *
 * CBR: the channel carries no more than the bit rate, and the buffer holds one second of it. A key frame may therefore be
 * as large as a second of the stream (about 30 ordinary frames), which keeps text readable at once. A smaller buffer would
 * blur every key frame; with a larger one a burst would delay the following frames for longer.
 */
const RATE_CONTROLS = {
  cbr: { peak: 1, bufferSeconds: 1 },
  vbr: { peak: 2, bufferSeconds: 2 },
} as const;

/** Below MAX_ACCESS_UNIT_BYTES of the wire. */
const MOST_BUFFER_BITS = 100_000_000;

/**
 * @param profiles of the encoder, its default first
 * @param current the level that the stream has declared; it stays if it is allowed and sufficient
 * @throws EncoderUnavailableError that names the field and its limits
 */
export function planStream(
  configuration: EncoderConfiguration,
  profiles: readonly ProfileName[],
  current?: number,
): StreamPlan {
  checkConfiguration(configuration);
  const { codec, levels } = configuration;
  const profile = configuration.profile ?? profiles[0];
  if (profile === undefined || !profiles.includes(profile)) {
    throw new EncoderUnavailableError(`profile is ${profile}; it makes ${profiles.join(", ")}`);
  }
  const rates = ratesOf(configuration, profile);
  const { peakBitsPerSecond, bufferBits } = rates;
  const { width, height } = configuration;
  const framerate = nominalFramerate(configuration);
  const demand = { codec, profile, width, height, framerate, peakBitsPerSecond, bufferBits };
  return {
    profile,
    level: chooseLevel(demand, levels, current),
    rates,
    keyframeInterval: keyframeInterval(configuration),
  };
}

/** The configured bit rate, or one by pixels and frame rate that an allowed level has room for; its peak and buffer. */
export function ratesOf(configuration: EncoderConfiguration, profile: ProfileName): Rates {
  const { peak, bufferSeconds } = RATE_CONTROLS[configuration.rateControl];
  const most = mostBitsPerSecond(configuration.codec, profile, configuration.levels) / peak;
  const bitsPerSecond =
    configuration.bitrateKbps > 0
      ? configuration.bitrateKbps * 1000
      : Math.min(defaultKbps(configuration) * 1000, most);
  return {
    bitsPerSecond,
    peakBitsPerSecond: bitsPerSecond * peak,
    bufferBits: Math.min(bitsPerSecond * bufferSeconds, MOST_BUFFER_BITS),
  };
}

function defaultKbps(configuration: EncoderConfiguration): number {
  const { numerator, denominator } = nominalFramerate(configuration);
  const pixels = configuration.width * configuration.height * Math.min(numerator / denominator, 60);
  const kbps = Math.round((pixels * DEFAULT_BITS_PER_PIXEL) / 1000);
  return Math.min(Math.max(kbps, DEFAULT_BITRATE_KBPS.least), DEFAULT_BITRATE_KBPS.most);
}
