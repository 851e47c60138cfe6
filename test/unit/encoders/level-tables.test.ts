/**
 * The tables of levels, each number by the message that rejects a stream above it. H.264 is compared with libx264's
 * table. No library exports one for H.265, so tables A.8 and A.9 are repeated here.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { CodecName } from "../../../common/codec.ts";
import { chooseLevel, type LevelDemand, levelNumbers } from "../../../host/encoders/levels.ts";
import { runToEnd } from "../../support/native-program.ts";

/** In macroblocks or luma samples, and 1000 bits (a second) of a Main profile. */
type Limits = Readonly<Record<"idc" | "perSecond" | "perPicture" | "bitrate" | "buffer", number>> & {
  name: string;
};

/** libx264's table, printed by a program. */
function x264Levels(): Limits[] {
  const folder = mkdtempSync(join(tmpdir(), "vsockenc-levels-"));
  const program = join(folder, "levels");
  try {
    runToEnd("cc", join(import.meta.dirname, "support", "x264-levels.c"), "-lx264", "-o", program);
    return runToEnd(program)
      .trim()
      .split("\n")
      .map((line) => {
        const [idc = 0, perSecond = 0, perPicture = 0, bitrate = 0, buffer = 0] = line.split(" ").map(Number);
        return { idc, name: idc === 9 ? "1b" : String(idc / 10), perSecond, perPicture, bitrate, buffer };
      });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Level, MaxLumaPs, MaxLumaSr, MaxBR and MaxCPB of the main tier. */
const H265 = `
  1        36864      552960     128     350
  2       122880     3686400    1500    1500
  2.1     245760     7372800    3000    3000
  3       552960    16588800    6000    6000
  3.1     983040    33177600   10000   10000
  4      2228224    66846720   12000   12000
  4.1    2228224   133693440   20000   20000
  5      8912896   267386880   25000   25000
  5.1    8912896   534773760   40000   40000
  5.2    8912896  1069547520   60000   60000
  6     35651584  1069547520   60000   60000
  6.1   35651584  2139095040  120000  120000
  6.2   35651584  4278190080  240000  240000
`;

function h265Levels(): Limits[] {
  const rows = H265.trim().split("\n");
  return rows.map((row) => {
    const [name = "", ...numbers] = row.trim().split(/ +/);
    const [perPicture = 0, perSecond = 0, bitrate = 0, buffer = 0] = numbers.map(Number);
    // A.4.1: general_level_idc is thirty times the level.
    return { idc: Math.round(Number(name) * 30), name, perPicture, perSecond, bitrate, buffer };
  });
}

/** A stream within every level; each test makes one property exceed its limit. */
const SMALLEST: Omit<LevelDemand, "codec" | "profile"> = {
  width: 16,
  height: 16,
  framerate: { numerator: 1, denominator: 1 },
  peakBitsPerSecond: 1000,
  bufferBits: 1000,
};

function rejectionOf(codec: CodecName, idc: number, change: Partial<LevelDemand>): string {
  const demand = { ...SMALLEST, codec, profile: "main", ...change } as const;
  try {
    return `accepted as ${chooseLevel(demand, [idc])}`;
  } catch (error) {
    return String(error);
  }
}

const TABLES = { h264: x264Levels(), h265: h265Levels() };
const UNITS = { h264: "macroblocks", h265: "luma samples" } as const;

describe.each(["h264", "h265"] as const)("the levels of %s", (codec) => {
  it("are those of the table", () => {
    const numbers = TABLES[codec].map(({ idc }) => idc);
    expect([...levelNumbers(codec)].sort((a, b) => a - b)).toEqual(numbers.sort((a, b) => a - b));
    for (const { idc } of TABLES[codec]) expect(rejectionOf(codec, idc, {})).toBe(`accepted as ${idc}`);
  });

  it.each(TABLES[codec])("have the limits of $name", ({ idc, name, ...limits }) => {
    const allows = (most: number, what: string): string =>
      `level ${name} allows no more than ${most} ${what}, not `;
    const large = { width: 100_000, height: 100_000 };
    expect(rejectionOf(codec, idc, large)).toContain(
      allows(limits.perPicture, `${UNITS[codec]} a picture (width, height)`),
    );
    const fast = { framerate: { numerator: 1_000_000_000, denominator: 1 } };
    expect(rejectionOf(codec, idc, fast)).toContain(
      allows(limits.perSecond, `${UNITS[codec]} a second (framerate)`),
    );
    const rate = allows(1000 * limits.bitrate, "bits a second (bitrate_kbps)");
    expect(rejectionOf(codec, idc, { peakBitsPerSecond: 1e12 })).toContain(rate);
    const buffer = allows(1000 * limits.buffer, "bits of coded picture buffer (bitrate_kbps)");
    expect(rejectionOf(codec, idc, { bufferBits: 1e12 })).toContain(buffer);
  });
});
