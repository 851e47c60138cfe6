/** Reads the counter that test/guest/pattern.c draws into its frames; the geometry is pattern.h's. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../common/package-root.ts";
import { decodeGray } from "./ffmpeg.ts";

export interface Size {
  readonly width: number;
  readonly height: number;
}

const header = readFileSync(join(packageRoot, "test", "guest", "pattern.h"), "utf8");

function constant(name: string): number {
  const value = new RegExp(`#define ${name} (\\d+)u`).exec(header)?.[1];
  if (value === undefined) throw new Error(`pattern.h does not define ${name}`);
  return Number(value);
}

const BLOCK = constant("PATTERN_BLOCK");
const BITS = constant("PATTERN_BITS");
/** Video's black and white are 16 and 235, with some loss. */
const THRESHOLD = 128;

/** The middles of the blocks, the number's row first: where a reader of single pixels has to look. */
export const COUNTER_POINTS: { readonly x: number; readonly y: number }[] = [0, 1].flatMap((row) =>
  Array.from({ length: BITS }, (_, bit) => ({ x: (bit + 0.5) * BLOCK, y: (row + 0.5) * BLOCK })),
);

/** The counter by the brightness at COUNTER_POINTS; undefined where it and its complement disagree. */
export function counterOf(luma: readonly number[]): number | undefined {
  const value = (from: number): number =>
    luma.slice(from, from + BITS).reduce((sum, pixel) => sum * 2 + (pixel >= THRESHOLD ? 1 : 0), 0);
  const number = value(0);
  return luma.length === 2 * BITS && (number ^ value(BITS)) === 2 ** BITS - 1 ? number : undefined;
}

/**
 * Counters of decoded frames.
 *
 * @param frames 8-bit grey, `width` bytes a row
 * @returns undefined for a frame whose counter and complement disagree
 */
export function readCounters(frames: readonly Uint8Array[], width: number): (number | undefined)[] {
  return frames.map((frame) => counterOf(COUNTER_POINTS.map(({ x, y }) => frame[y * width + x] ?? 0)));
}

/** Counters of all frames of an H.264 file. */
export function countersOf(file: string, { width }: Size): (number | undefined)[] {
  return readCounters(decodeGray(file, width, 2 * BLOCK), width);
}

/** 0, 1, … below `count`. */
export const upTo = (count: number): number[] => Array.from({ length: count }, (_, n) => n);

/** The command that draws `frames` frames with counters into `pipeline` (test/guest/dmabufsrc.c). */
export function dmabufsrc({ width, height }: Size, frames: number, pipeline: string, options = ""): string {
  return `dmabufsrc --frames ${frames} --width ${width} --height ${height} ${options} --pipeline '${pipeline}'`;
}
