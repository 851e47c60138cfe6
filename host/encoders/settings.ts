/**
 * Decisions that every back end makes in the same way from a configuration: limits, default frame rate and key-frame
 * interval, and the colour of the stream. Bit rates and levels are in plan.ts.
 */
import { LIMITS } from "../../proto/limits.ts";
import {
  type Colorimetry,
  type EncoderConfiguration,
  EncoderUnavailableError,
  type Fraction,
} from "./encoder.ts";

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
export function nominalFramerate(configuration: EncoderConfiguration): Fraction {
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
export function hasFixedRate({ framerate }: EncoderConfiguration): boolean {
  return framerate.numerator !== 0 && framerate.denominator !== 0;
}

/** Frames from one key frame to the next: as configured, or two seconds' worth. */
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
/** SMPTE 170M, the same as BT.601, which libyuv's RGB conversions use. */
const MATRIX_BT601 = 6;
const PRIMARIES_BT709 = 1;
const TRANSFER_BT709 = 1;
const TRANSFER_SRGB = 13;

/** Minimum height of pictures with unknown matrix that count as BT.709, as in GStreamer. */
const HD_HEIGHT = 720;

/** Whether the frames of a stream are RGB. */
export function isRgb({ colorimetry }: EncoderConfiguration): boolean {
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
