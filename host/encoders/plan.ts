/**
 * Decisions that every back end makes in the same way from a configuration: limits, profile, level, rates, frame rate,
 * key-frame interval, and the colour of the stream.
 */
import { isDeepStrictEqual } from "node:util";
import type { CodecName, ProfileName } from "../../common/codec.ts";
import { LIMITS } from "../../proto/limits.ts";
import {
  type Colorimetry,
  type EncoderConfiguration,
  type EncoderDescription,
  type EncoderOffer,
  EncoderUnavailableError,
  type Fraction,
  type RateControl,
} from "./encoder.ts";
import { chooseLevel, mostBitsPerSecond } from "./levels.ts";

/** The limits of rate control. */
export interface Rates {
  /** On average. */
  readonly bitsPerSecond: number;
  /** Maximum, over the buffer. */
  readonly peakBitsPerSecond: number;
  /** Size of the decoder's buffer for coded pictures (VBV), and so roughly of the largest access unit. */
  readonly bufferBits: number;
}

/** A configuration in the terms of encoders. */
export interface StreamPlan {
  readonly codec: CodecName;
  readonly profile: ProfileName;
  /** level_idc or general_level_idc, see levels.ts. */
  readonly level: number;
  readonly rateControl: RateControl;
  /** Visible size in pixels. */
  readonly width: number;
  readonly height: number;
  /** Frames a second that rate control assumes. */
  readonly framerate: Fraction;
  /** Whether the VUI states it. */
  readonly fixedRate: boolean;
  readonly pixelAspectRatio: Fraction;
  readonly colorimetry: Colorimetry;
  /** Whether frames are RGB; decides where chroma samples are sited. */
  readonly rgb: boolean;
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
 * @param fullRange RGB becomes 0 … 255
 * @param currentLevel the level that the stream has declared; it stays if it is allowed and sufficient
 * @throws EncoderUnavailableError that names the field and its limits
 */
export function planStream(
  configuration: EncoderConfiguration,
  { profiles, maxWidth, maxHeight }: Pick<EncoderOffer, "profiles" | "maxWidth" | "maxHeight">,
  fullRange = false,
  currentLevel?: number,
): StreamPlan {
  checkConfiguration(configuration);
  const { codec, levels, width, height, rateControl } = configuration;
  const profile = configuration.profile ?? profiles[0];
  if (profile === undefined || !profiles.includes(profile)) {
    throw new EncoderUnavailableError(`profile is ${profile}; it makes ${profiles.join(", ")}`);
  }
  const rates = ratesOf(configuration, profile);
  const framerate = nominalFramerate(configuration);
  const level = chooseLevel({ codec, profile, width, height, framerate, ...rates }, levels, currentLevel);
  if (width > maxWidth || height > maxHeight) {
    throw new EncoderUnavailableError(`${width}x${height} exceeds its ${maxWidth}x${maxHeight}`);
  }
  return {
    codec,
    profile,
    level,
    rateControl,
    width,
    height,
    framerate,
    rates,
    fixedRate: hasFixedRate(configuration),
    pixelAspectRatio: pixelAspectRatio(configuration),
    colorimetry: encodedColorimetry(configuration, fullRange),
    rgb: isRgb(configuration),
    keyframeInterval: keyframeInterval(configuration),
  };
}

/** Whether a session can change from one plan to the other: only rates and key-frame interval differ. */
export function sameStream(current: StreamPlan, wanted: StreamPlan): boolean {
  const { rates, keyframeInterval } = wanted;
  return isDeepStrictEqual({ ...current, rates, keyframeInterval }, wanted);
}

export function describeStream({ name, hardware }: EncoderOffer, plan: StreamPlan): EncoderDescription {
  const { width, height, colorimetry, rates, keyframeInterval } = plan;
  return {
    encoder: name,
    hardware,
    width: width + (width % 2),
    height: height + (height % 2),
    colorimetry,
    bitrateKbps: Math.round(rates.bitsPerSecond / 1000),
    keyframeInterval,
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

/**
 * MaxFS of H.264 level 6.2 (Rec. ITU-T H.264, table A-1): no level allows a larger picture. MaxLumaPs of H.265's (Rec.
 * ITU-T H.265, table A.8) is the same number of pixels.
 */
const MAX_MACROBLOCKS = 139_264;
/** Frames a second that rate control assumes when the rate varies. */
const ASSUMED_FRAMERATE: Fraction = { numerator: 60, denominator: 1 };
const MAX_FRAMERATE = 1000;
const MIN_FRAMERATE = 1 / 60;
const DEFAULT_KEYFRAME_SECONDS = 2;
/** Largest term of a pixel aspect ratio (sar_width and sar_height are u(16) in the VUI). */
const MAX_ASPECT_TERM = 65_535;

/** @throws EncoderUnavailableError that names the field and its limits. */
function checkConfiguration(configuration: EncoderConfiguration): void {
  const { width, height, bitrateKbps, keyframeInterval } = configuration;
  inRange("width", width, LIMITS.MIN_DIMENSION, LIMITS.MAX_DIMENSION);
  inRange("height", height, LIMITS.MIN_DIMENSION, LIMITS.MAX_DIMENSION);
  inRange("bitrateKbps", bitrateKbps, 0, LIMITS.MAX_BITRATE_KBPS);
  inRange("keyframeInterval", keyframeInterval, 0, 0xffffffff);
  for (const field of ["framerate", "pixelAspectRatio"] as const) {
    inRange(`${field}.numerator`, configuration[field].numerator, 0, 0xffffffff);
    inRange(`${field}.denominator`, configuration[field].denominator, 0, 0xffffffff);
  }
  const macroblocks = Math.ceil(width / 16) * Math.ceil(height / 16);
  if (macroblocks > MAX_MACROBLOCKS) {
    throw new EncoderUnavailableError(
      `${width}x${height} is ${macroblocks} macroblocks, H.264 and H.265 have at most ${MAX_MACROBLOCKS} (level 6.2)`,
    );
  }
  nominalFramerate(configuration);
}

function inRange(field: string, value: number, least: number, most: number): void {
  if (Number.isInteger(value) && value >= least && value <= most) return;
  throw new EncoderUnavailableError(`${field} is ${value}, expected a whole number from ${least} to ${most}`);
}

/**
 * The frame rate, in lowest terms, that rate control assumes: each frame gets its share of the bit rate.
 *
 * A stream of varying rate (0/1, as PipeWire's are) counts as 60 frames a second, the most that a screen shows, so it
 * never exceeds the bit rate; a slower stream uses less. Measuring the rate from time stamps is not an option: x264 then
 * delays every frame until it has seen the next (see LavcEncoder::EncodeFrame). The level is chosen for the same rate;
 * the VUI states none.
 */
function nominalFramerate(configuration: EncoderConfiguration): Fraction {
  if (!hasFixedRate(configuration)) return ASSUMED_FRAMERATE;
  const { framerate } = configuration;
  const { numerator, denominator } = framerate;
  const rate = numerator / denominator;
  if (rate < MIN_FRAMERATE || rate > MAX_FRAMERATE) {
    throw new EncoderUnavailableError(
      `framerate is ${numerator}/${denominator}, expected 1/60 to ${MAX_FRAMERATE}/1 (or 0/1 when it varies)`,
    );
  }
  return approximate(framerate, 0x7fffffff);
}

/** Whether the stream has a fixed frame rate (not 0/1). */
function hasFixedRate({ framerate }: EncoderConfiguration): boolean {
  return framerate.numerator !== 0 && framerate.denominator !== 0;
}

/** Frames from one key frame to the next: as configured, or two seconds' worth. */
export function keyframeInterval(configuration: EncoderConfiguration): number {
  if (configuration.keyframeInterval > 0) return Math.min(configuration.keyframeInterval, 0x7fffffff);
  const { numerator, denominator } = nominalFramerate(configuration);
  return Math.max(1, Math.round((numerator / denominator) * DEFAULT_KEYFRAME_SECONDS));
}

/** Square pixels when either term is 0. */
function pixelAspectRatio(configuration: EncoderConfiguration): Fraction {
  const { numerator, denominator } = configuration.pixelAspectRatio;
  if (numerator === 0 || denominator === 0) return { numerator: 1, denominator: 1 };
  return approximate(configuration.pixelAspectRatio, MAX_ASPECT_TERM);
}

/** In lowest terms; rounded where a term is still above `most`. */
function approximate(fraction: Fraction, most: number): Fraction {
  let [a, b] = [fraction.numerator, fraction.denominator];
  while (b !== 0) [a, b] = [b, a % b];
  const scale = Math.max(a, Math.max(fraction.numerator, fraction.denominator) / most);
  const term = (value: number): number => Math.min(most, Math.max(1, Math.round(value / scale)));
  return { numerator: term(fraction.numerator), denominator: term(fraction.denominator) };
}

/** Code points of ISO/IEC 23091-2. */
const MATRIX_RGB = 0;
const MATRIX_BT709 = 1;
/** SMPTE 170M, the same as BT.601, which libyuv's RGB conversions use. */
const MATRIX_BT601 = 6;
const PRIMARIES_BT709 = 1;
const TRANSFER_BT709 = 1;
const TRANSFER_SRGB = 13;

/** Minimum height of pictures with unknown matrix that count as BT.709, as in GStreamer. */
const HD_HEIGHT = 720;

/** Whether the frames of a stream are RGB. */
function isRgb({ colorimetry }: EncoderConfiguration): boolean {
  return colorimetry.matrix === MATRIX_RGB;
}

/**
 * The colour of the encoded stream, as stated in its VUI and EncoderDescription. It depends on the kind of frames that
 * the configuration announces.
 *
 * RGB (matrix 0):
 * - Matrix: BT.601 for every size. libyuv's public functions convert RGB only with this one (convert.h,
 *   convert_from_argb.h of Debian 12), and a decoder that reads the VUI gets the same pixels back as with any other.
 * - Range: limited, because some decoders ignore the flag; `fullRange` selects the other. The configuration's range is
 *   that of the RGB pictures, which use all of 0 … 255.
 *
 * NV12 and I420 (any other matrix): matrix and range are the pictures' own, as no sample is changed. An unknown matrix
 * (2, or reserved) counts as BT.709 from 720 lines on, below as BT.601.
 *
 * Primaries and transfer are the pictures' own in both cases. Unknown (0, 2) or reserved values count as BT.709; the
 * transfer of RGB as sRGB, which computers draw.
 */
export function encodedColorimetry(configuration: EncoderConfiguration, fullRange: boolean): Colorimetry {
  const { primaries, transfer, matrix, fullRange: sourceRange } = configuration.colorimetry;
  const rgb = isRgb(configuration);
  const known = (value: number, last: number): boolean => value === 1 || (value >= 4 && value <= last);
  const defaultMatrix = configuration.height >= HD_HEIGHT ? MATRIX_BT709 : MATRIX_BT601;
  return {
    primaries: known(primaries, 12) ? primaries : PRIMARIES_BT709,
    transfer: known(transfer, 18) ? transfer : rgb ? TRANSFER_SRGB : TRANSFER_BT709,
    matrix: rgb ? MATRIX_BT601 : known(matrix, 14) ? matrix : defaultMatrix,
    fullRange: rgb ? fullRange : sourceRange,
  };
}
