/**
 * Levels: limits that a decoder must support, and the lowest level that a stream fits.
 *
 * H.264: Rec. ITU-T H.264, A.3.1, A.3.3 and table A-1. H.265: Rec. ITU-T H.265, A.4.1, A.4.2, tables A.8 and A.9, main
 * tier. A level is identified by its number in the stream: level_idc is ten times the level, general_level_idc thirty times.
 * Level 1b of H.264 is 9 here for every profile, as in annex A for High; Main and Constrained Baseline write it as
 * level_idc 11 with constraint_set3_flag.
 */
import type { CodecName, ProfileName } from "../../common/codec.ts";
import { EncoderUnavailableError, type Fraction } from "./encoder.ts";

/** The demands of a stream on its decoder. */
export interface LevelDemand {
  readonly codec: CodecName;
  readonly profile: ProfileName;
  /** Of the coded picture, pixels. */
  readonly width: number;
  readonly height: number;
  readonly framerate: Fraction;
  /** The highest bit rate at any time, bits a second. */
  readonly peakBitsPerSecond: number;
  /** Size of the coded picture buffer that rate control assumes, bits. */
  readonly bufferBits: number;
}

/**
 * `picture` and `second` are units (macroblocks or luma samples), `bitrate` and `codedBuffer` 1000 bits (a second) before
 * the profile's factor.
 */
type Level = readonly [
  idc: number,
  name: string,
  picture: number,
  second: number,
  bitrate: number,
  codedBuffer: number,
];

/**
 * level_idc, level, MaxFS, MaxMBPS, MaxBR, MaxCPB of table A-1. Its MaxDpbMbs is never the limit: encoders without
 * reordering keep one reference picture, and every level has room for four of the largest.
 */
const H264_LEVELS: readonly Level[] = [
  [10, "1", 99, 1_485, 64, 175],
  [9, "1b", 99, 1_485, 128, 350],
  [11, "1.1", 396, 3_000, 192, 500],
  [12, "1.2", 396, 6_000, 384, 1_000],
  [13, "1.3", 396, 11_880, 768, 2_000],
  [20, "2", 396, 11_880, 2_000, 2_000],
  [21, "2.1", 792, 19_800, 4_000, 4_000],
  [22, "2.2", 1_620, 20_250, 4_000, 4_000],
  [30, "3", 1_620, 40_500, 10_000, 10_000],
  [31, "3.1", 3_600, 108_000, 14_000, 14_000],
  [32, "3.2", 5_120, 216_000, 20_000, 20_000],
  [40, "4", 8_192, 245_760, 20_000, 25_000],
  [41, "4.1", 8_192, 245_760, 50_000, 62_500],
  [42, "4.2", 8_704, 522_240, 50_000, 62_500],
  [50, "5", 22_080, 589_824, 135_000, 135_000],
  [51, "5.1", 36_864, 983_040, 240_000, 240_000],
  [52, "5.2", 36_864, 2_073_600, 240_000, 240_000],
  [60, "6", 139_264, 4_177_920, 240_000, 240_000],
  [61, "6.1", 139_264, 8_355_840, 480_000, 480_000],
  [62, "6.2", 139_264, 16_711_680, 800_000, 800_000],
];

/** general_level_idc, level, MaxLumaPs, MaxLumaSr, MaxBR, MaxCPB of tables A.8 and A.9. */
const H265_LEVELS: readonly Level[] = [
  [30, "1", 36_864, 552_960, 128, 350],
  [60, "2", 122_880, 3_686_400, 1_500, 1_500],
  [63, "2.1", 245_760, 7_372_800, 3_000, 3_000],
  [90, "3", 552_960, 16_588_800, 6_000, 6_000],
  [93, "3.1", 983_040, 33_177_600, 10_000, 10_000],
  [120, "4", 2_228_224, 66_846_720, 12_000, 12_000],
  [123, "4.1", 2_228_224, 133_693_440, 20_000, 20_000],
  [150, "5", 8_912_896, 267_386_880, 25_000, 25_000],
  [153, "5.1", 8_912_896, 534_773_760, 40_000, 40_000],
  [156, "5.2", 8_912_896, 1_069_547_520, 60_000, 60_000],
  [180, "6", 35_651_584, 1_069_547_520, 60_000, 60_000],
  [183, "6.1", 35_651_584, 2_139_095_040, 120_000, 120_000],
  [186, "6.2", 35_651_584, 4_278_190_080, 240_000, 240_000],
];

/** Few decoders support H.264's level 1b, so it is declared only on request. */
const ONLY_WHEN_ASKED = new Set([9]);

interface CodecLevels {
  readonly title: string;
  /** Lowest first. */
  readonly levels: readonly Level[];
  /** Side of the square that pictures are padded to, and how many units it is. */
  readonly block: number;
  readonly unitsPerBlock: number;
  readonly unit: string;
}

const CODECS: Readonly<Record<CodecName, CodecLevels>> = {
  h264: { title: "H.264", levels: H264_LEVELS, block: 16, unitsPerBlock: 1, unit: "macroblocks" },
  // The smallest coding block is 8x8 (MinCbSizeY), and every encoder here pads to it.
  h265: { title: "H.265", levels: H265_LEVELS, block: 8, unitsPerBlock: 64, unit: "luma samples" },
};

/** Numbers of a codec's levels, lowest first. */
export function levelNumbers(codec: CodecName): readonly number[] {
  return CODECS[codec].levels.map(([idc]) => idc);
}

/**
 * The level to declare for a stream: the lowest of `allowed` (empty: of all) that it fits.
 *
 * @param current the level that the stream has declared; it stays if it is allowed and sufficient
 * @throws EncoderUnavailableError that names the level which the stream needs
 */
export function chooseLevel(demand: LevelDemand, allowed: readonly number[], current?: number): number {
  const { title, levels } = CODECS[demand.codec];
  const fits = (level: Level): boolean => exceeded(level, demand) === undefined;
  const candidates = candidatesOf(demand.codec, allowed);
  const sufficient = candidates.filter(fits);
  const [chosen] = sufficient.find(([idc]) => idc === current) ?? sufficient[0] ?? [];
  if (chosen !== undefined) return chosen;

  const names = candidates.map(([, name]) => name).join(", ");
  const [, needed] = candidatesOf(demand.codec, []).find(fits) ?? [];
  const highest = candidates.at(-1) ?? levels.at(-1);
  const why =
    highest === undefined ? "" : `level ${highest[1]} allows no more than ${exceeded(highest, demand)}`;
  throw new EncoderUnavailableError(
    needed === undefined
      ? `the stream is beyond the levels of ${title} ${demand.profile}: ${why}`
      : `the stream needs ${title} level ${needed}, levels allows ${names || "none"}: ${why}`,
  );
}

/** The highest bit rate of the allowed levels (empty: of all), bits a second. */
export function mostBitsPerSecond(
  codec: CodecName,
  profile: ProfileName,
  allowed: readonly number[],
): number {
  const rates = candidatesOf(codec, allowed).map(([, , , , bitrate]) => bitrate);
  return Math.max(0, ...rates) * bitFactor(profile);
}

function candidatesOf(codec: CodecName, allowed: readonly number[]): readonly Level[] {
  const { levels } = CODECS[codec];
  return allowed.length === 0
    ? levels.filter(([idc]) => !ONLY_WHEN_ASKED.has(idc))
    : levels.filter(([idc]) => allowed.includes(idc));
}

/** The first limit of a level that the stream exceeds, in words; undefined when it fits. */
function exceeded([, , picture, second, bitrate, codedBuffer]: Level, demand: LevelDemand) {
  const { block, unitsPerBlock, unit } = CODECS[demand.codec];
  const { numerator, denominator } = demand.framerate;
  const columns = Math.ceil(demand.width / block);
  const rows = Math.ceil(demand.height / block);
  const units = columns * rows * unitsPerBlock;
  // No side is longer than Sqrt(8 * MaxFS) macroblocks (A.3.1 f, g) or Sqrt(8 * MaxLumaPs) samples (A.4.1).
  const side = Math.floor(Math.sqrt((8 * picture) / unitsPerBlock));
  const factor = bitFactor(demand.profile);
  const limits: readonly (readonly [value: number, most: number, quantity: string])[] = [
    [units, picture, `${unit} a picture (width, height)`],
    [Math.max(columns, rows), side, `blocks of ${block} pixels in a row or column (width, height)`],
    [(units * numerator) / denominator, second, `${unit} a second (framerate)`],
    [demand.peakBitsPerSecond, bitrate * factor, "bits a second (bitrate_kbps)"],
    [demand.bufferBits, codedBuffer * factor, "bits of coded picture buffer (bitrate_kbps)"],
  ];
  const broken = limits.find(([value, most]) => value > most);
  return broken && `${broken[1]} ${broken[2]}, not ${Math.ceil(broken[0])}`;
}

/** cpbBrVclFactor of table A-2, CpbVclFactor of table A.10. */
function bitFactor(profile: ProfileName): number {
  return profile === "high" ? 1250 : 1000;
}
