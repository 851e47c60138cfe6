/**
 * What every back end decides in the same way from a configuration: limits, the frame rate and key-frame interval it
 * chooses when it is told none, and the colour of what it makes. Bit rates and levels are in plan.ts.
 */
import { LIMITS } from "../../proto/limits.ts";
import { type Colorimetry, type EncoderConfiguration, EncoderUnavailableError } from "./encoder.ts";

/** A fraction in lowest terms. */
export interface Fraction {
  readonly numerator: number;
  readonly denominator: number;
}

/**
 * MaxFS of H.264 level 6.2 (Rec. ITU-T H.264, table A-1): no level allows a larger picture. MaxLumaPs of H.265's (Rec.
 * ITU-T H.265, table A.8) is the same number of pixels.
 */
const MAX_MACROBLOCKS = 139_264;
/** Frames a second that rate control counts with when the rate varies. */
const ASSUMED_FRAMERATE: Fraction = { numerator: 60, denominator: 1 };
const MAX_FRAMERATE = 1000;
const MIN_FRAMERATE = 1 / 60;
const DEFAULT_KEYFRAME_SECONDS = 2;
/** Largest term of a pixel aspect ratio (sar_width and sar_height are u(16) in the VUI). */
const MAX_ASPECT_TERM = 65_535;

/** @throws EncoderUnavailableError that names the field and its limits. */
export function checkConfiguration(configuration: EncoderConfiguration): void {
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
  throw new EncoderUnavailableError(`${field} is ${value}, not a whole number from ${least} to ${most}`);
}

/**
 * The rate that rate control counts with, each frame having its share of the bit rate.
 *
 * A stream of varying rate (0/1, as PipeWire's are) counts as 60 frames a second: what a screen shows at the most,
 * so the bit rate is never exceeded; a slower stream uses less than it may. Measuring the rate from time stamps is
 * no way out: x264 then holds back every frame until it has seen the next (see LavcEncoder::Encode). The level counts
 * with the same rate; the VUI states none.
 */
export function nominalFramerate(configuration: EncoderConfiguration): Fraction {
  if (!hasFixedRate(configuration)) return ASSUMED_FRAMERATE;
  const { framerate } = configuration;
  const { numerator, denominator } = framerate;
  const rate = numerator / denominator;
  if (rate < MIN_FRAMERATE || rate > MAX_FRAMERATE) {
    throw new EncoderUnavailableError(
      `framerate is ${numerator}/${denominator}, not from 1/60 to ${MAX_FRAMERATE}/1 (or 0/1 when it varies)`,
    );
  }
  return approximate(framerate, 0x7fffffff);
}

/** Whether the stream has a frame rate of its own (not 0/1). */
export function hasFixedRate({ framerate }: EncoderConfiguration): boolean {
  return framerate.numerator !== 0 && framerate.denominator !== 0;
}

/** Frames from key frame to key frame: as configured, or two seconds' worth. */
export function keyframeInterval(configuration: EncoderConfiguration): number {
  if (configuration.keyframeInterval > 0) return Math.min(configuration.keyframeInterval, 0x7fffffff);
  const { numerator, denominator } = nominalFramerate(configuration);
  return Math.max(1, Math.round((numerator / denominator) * DEFAULT_KEYFRAME_SECONDS));
}

/** Square pixels when either term is 0. */
export function pixelAspectRatio(configuration: EncoderConfiguration): Fraction {
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
/** SMPTE 170M, the same as BT.601: what libyuv's RGB conversions use. */
const MATRIX_BT601 = 6;
const PRIMARIES_BT709 = 1;
const TRANSFER_BT709 = 1;
const TRANSFER_SRGB = 13;

/** Least height of pictures that are taken for BT.709 when they do not tell, as GStreamer does. */
const HD_HEIGHT = 720;

/** Whether the frames of a stream are RGB. */
export function isRgb({ colorimetry }: EncoderConfiguration): boolean {
  return colorimetry.matrix === MATRIX_RGB;
}

/**
 * The colour of the encoded stream, as its VUI and EncoderDescription say it. It depends on the kind of frames that
 * the configuration announces.
 *
 * RGB (matrix 0):
 * - Matrix: BT.601, whatever the size. The host picks it; libyuv's public functions convert RGB with this one only
 *   (convert.h, convert_from_argb.h of Debian 12), and a decoder that reads the VUI gets the same pixels back as with
 *   any other.
 * - Range: limited, because some decoders ignore the flag; the range in the configuration is that of the RGB, which
 *   uses all of 0 … 255. `fullRange` asks for the other.
 *
 * NV12 and I420 (any other matrix): matrix and range are the pictures' own, as no sample is changed. An untold matrix
 * (2, or reserved) counts as BT.709 from 720 lines on, else as BT.601.
 *
 * Primaries and transfer are the pictures' own in both. Untold (0, 2) or reserved values count as BT.709, and sRGB's
 * transfer for RGB, what a computer draws.
 */
export function encodedColorimetry(configuration: EncoderConfiguration, fullRange: boolean): Colorimetry {
  const { primaries, transfer, matrix, fullRange: sourceRange } = configuration.colorimetry;
  const rgb = isRgb(configuration);
  const told = (value: number, last: number): boolean => value === 1 || (value >= 4 && value <= last);
  const untoldMatrix = configuration.height >= HD_HEIGHT ? MATRIX_BT709 : MATRIX_BT601;
  return {
    primaries: told(primaries, 12) ? primaries : PRIMARIES_BT709,
    transfer: told(transfer, 18) ? transfer : rgb ? TRANSFER_SRGB : TRANSFER_BT709,
    matrix: rgb ? MATRIX_BT601 : told(matrix, 14) ? matrix : untoldMatrix,
    fullRange: rgb ? fullRange : sourceRange,
  };
}
