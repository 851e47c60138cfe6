/**
 * Levels: what a decoder must be able to take, and the lowest that a stream fits.
 *
 * H.264: Rec. ITU-T H.264, A.3.1, A.3.3 and table A-1. H.265: Rec. ITU-T H.265, A.4.1, A.4.2, tables A.8 and A.9, main
 * tier. A level is known by its number in the stream: level_idc is ten times the level, general_level_idc thirty times.
 * Level 1b of H.264 is 9 here for every profile, as in annex A for High; Main and Constrained Baseline write it as
 * level_idc 11 with constraint_set3_flag.
 */
import type { CodecName, ProfileName } from "../../common/codec.ts";
import { EncoderUnavailableError } from "./encoder.ts";

/** What a stream asks of its decoder. */
export interface LevelDemand {
  readonly codec: CodecName;
  readonly profile: ProfileName;
  /** Of the coded picture, pixels. */
  readonly width: number;
  readonly height: number;
  readonly framerate: { readonly numerator: number; readonly denominator: number };
  /** The most that the stream has at any time, bits a second. */
  readonly peakBitsPerSecond: number;
  /** Of the coded picture buffer that rate control counts with, bits. */
  readonly bufferBits: number;
}

interface Level {
  readonly idc: number;
  readonly name: string;
  /** Of a picture and a second, in units (macroblocks or luma samples). */
  readonly picture: number;
  readonly second: number;
  /** In 1000 bits (a second), before the profile's factor. */
  readonly bitrate: number;
  readonly codedBuffer: number;
}

/**
 * level_idc, level, MaxFS, MaxMBPS, MaxBR, MaxCPB of table A-1. Its MaxDpbMbs never decides: encoders without reordering
 * keep one picture for reference, and every level has room for four of the largest.
 */
const H264_LEVELS: readonly Level[] = [
  level(10, "1", 99, 1_485, 64, 175),
  level(9, "1b", 99, 1_485, 128, 350),
  level(11, "1.1", 396, 3_000, 192, 500),
  level(12, "1.2", 396, 6_000, 384, 1_000),
  level(13, "1.3", 396, 11_880, 768, 2_000),
  level(20, "2", 396, 11_880, 2_000, 2_000),
  level(21, "2.1", 792, 19_800, 4_000, 4_000),
  level(22, "2.2", 1_620, 20_250, 4_000, 4_000),
  level(30, "3", 1_620, 40_500, 10_000, 10_000),
  level(31, "3.1", 3_600, 108_000, 14_000, 14_000),
  level(32, "3.2", 5_120, 216_000, 20_000, 20_000),
  level(40, "4", 8_192, 245_760, 20_000, 25_000),
  level(41, "4.1", 8_192, 245_760, 50_000, 62_500),
  level(42, "4.2", 8_704, 522_240, 50_000, 62_500),
  level(50, "5", 22_080, 589_824, 135_000, 135_000),
  level(51, "5.1", 36_864, 983_040, 240_000, 240_000),
  level(52, "5.2", 36_864, 2_073_600, 240_000, 240_000),
  level(60, "6", 139_264, 4_177_920, 240_000, 240_000),
  level(61, "6.1", 139_264, 8_355_840, 480_000, 480_000),
  level(62, "6.2", 139_264, 16_711_680, 800_000, 800_000),
];

/** general_level_idc, level, MaxLumaPs, MaxLumaSr, MaxBR, MaxCPB of tables A.8 and A.9. */
const H265_LEVELS: readonly Level[] = [
  level(30, "1", 36_864, 552_960, 128, 350),
  level(60, "2", 122_880, 3_686_400, 1_500, 1_500),
  level(63, "2.1", 245_760, 7_372_800, 3_000, 3_000),
  level(90, "3", 552_960, 16_588_800, 6_000, 6_000),
  level(93, "3.1", 983_040, 33_177_600, 10_000, 10_000),
  level(120, "4", 2_228_224, 66_846_720, 12_000, 12_000),
  level(123, "4.1", 2_228_224, 133_693_440, 20_000, 20_000),
  level(150, "5", 8_912_896, 267_386_880, 25_000, 25_000),
  level(153, "5.1", 8_912_896, 534_773_760, 40_000, 40_000),
  level(156, "5.2", 8_912_896, 1_069_547_520, 60_000, 60_000),
  level(180, "6", 35_651_584, 1_069_547_520, 60_000, 60_000),
  level(183, "6.1", 35_651_584, 2_139_095_040, 120_000, 120_000),
  level(186, "6.2", 35_651_584, 4_278_190_080, 240_000, 240_000),
];

/** Few decoders know level 1b, so it is declared only where it is asked for. */
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
  return CODECS[codec].levels.map(({ idc }) => idc);
}

/**
 * The level to declare for a stream: the lowest that it fits, of those allowed (none named: of all).
 *
 * @param current the level that the stream has declared; it stays if it is allowed and enough
 * @throws EncoderUnavailableError that says which level the stream needs
 */
export function chooseLevel(demand: LevelDemand, allowed: readonly number[], current?: number): number {
  const { title, levels } = CODECS[demand.codec];
  const candidates = candidatesOf(demand.codec, allowed);
  const enough = candidates.filter((level) => exceeded(level, demand) === undefined);
  const chosen = enough.find(({ idc }) => idc === current) ?? enough[0];
  if (chosen !== undefined) return chosen.idc;

  const names = candidates.map(({ name }) => name).join(", ");
  const needed = candidatesOf(demand.codec, []).find((level) => exceeded(level, demand) === undefined);
  const highest = candidates.at(-1) ?? levels.at(-1);
  const why =
    highest === undefined ? "" : `level ${highest.name} allows no more than ${exceeded(highest, demand)}`;
  throw new EncoderUnavailableError(
    needed === undefined
      ? `the stream is beyond the levels of ${title} ${demand.profile}: ${why}`
      : `the stream needs ${title} level ${needed.name}, levels allows ${names || "none"}: ${why}`,
  );
}

/** The highest bit rate of any level allowed (none named: of all), bits a second. */
export function mostBitsPerSecond(
  codec: CodecName,
  profile: ProfileName,
  allowed: readonly number[],
): number {
  return Math.max(0, ...candidatesOf(codec, allowed).map(({ bitrate }) => bitrate * bitFactor(profile)));
}

function candidatesOf(codec: CodecName, allowed: readonly number[]): readonly Level[] {
  const { levels } = CODECS[codec];
  if (allowed.length === 0)
    return levels.filter(({ idc }) => !(codec === "h264" && ONLY_WHEN_ASKED.has(idc)));
  return levels.filter(({ idc }) => allowed.includes(idc));
}

/** The first limit of a level that the stream exceeds, as words; undefined when it fits. */
function exceeded(level: Level, demand: LevelDemand): string | undefined {
  const { block, unitsPerBlock, unit } = CODECS[demand.codec];
  const { numerator, denominator } = demand.framerate;
  const columns = Math.ceil(demand.width / block);
  const rows = Math.ceil(demand.height / block);
  const picture = columns * rows * unitsPerBlock;
  const perSecond = (picture * numerator) / denominator;
  // No side is longer than Sqrt(8 * MaxFS) macroblocks (A.3.1 f, g) or Sqrt(8 * MaxLumaPs) samples (A.4.1).
  const side = Math.floor(Math.sqrt((8 * level.picture) / unitsPerBlock));
  const factor = bitFactor(demand.profile);
  const limits: readonly (readonly [value: number, most: number, what: string])[] = [
    [picture, level.picture, `${unit} a picture (width, height)`],
    [Math.max(columns, rows), side, `blocks of ${block} pixels in a row or column (width, height)`],
    [perSecond, level.second, `${unit} a second (framerate)`],
    [demand.peakBitsPerSecond, level.bitrate * factor, "bits a second (bitrate_kbps)"],
    [demand.bufferBits, level.codedBuffer * factor, "bits of coded picture buffer (bitrate_kbps)"],
  ];
  const broken = limits.find(([value, most]) => value > most);
  return broken && `${broken[1]} ${broken[2]}, not ${Math.ceil(broken[0])}`;
}

/** cpbBrVclFactor of table A-2, CpbVclFactor of table A.10. */
function bitFactor(profile: ProfileName): number {
  return profile === "high" ? 1250 : 1000;
}

function level(
  idc: number,
  name: string,
  picture: number,
  second: number,
  bitrate: number,
  codedBuffer: number,
): Level {
  return { idc, name, picture, second, bitrate, codedBuffer };
}
