/** The part of a stream that its receivers rely on, decided in the same way by every back end: profile, level, rates. */
import type { ProfileName } from "../../common/codec.ts";
import { type EncoderConfiguration, EncoderUnavailableError } from "./encoder.ts";
import { chooseLevel, mostBitsPerSecond } from "./levels.ts";
import { checkConfiguration, keyframeInterval, nominalFramerate } from "./settings.ts";

/** What rate control keeps. */
export interface Rates {
  /** On average. */
  readonly bitsPerSecond: number;
  /** At the most, over the buffer. */
  readonly peakBitsPerSecond: number;
  /** Of the decoder's buffer for coded pictures (VBV), and so roughly of the largest access unit. */
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
 * Times the average bit rate, and seconds of it in the buffer.
 *
 * CBR: the buffer holds what the channel carries in one second, and the channel carries no more than the bit rate. A key
 * frame may therefore be up to a second's worth (about 30 ordinary frames), which keeps text readable at once; a smaller
 * buffer would blur every key frame, a larger one would let a burst delay what follows for longer.
 */
const RATE_CONTROLS = {
  cbr: { peak: 1, bufferSeconds: 1 },
  vbr: { peak: 2, bufferSeconds: 2 },
} as const;

/** Below MAX_ACCESS_UNIT_BYTES of the wire. */
const MOST_BUFFER_BITS = 100_000_000;

/**
 * @param profiles that the encoder makes, the one to take unasked first
 * @param current the level that the stream has declared; it stays if it is allowed and enough
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

/** The configured bit rate, or one by pixels and frame rate that a level allowed has room for; its peak and buffer. */
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
