import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PROFILES } from "../../../common/codec.ts";
import { EncoderUnavailableError } from "../../../host/encoders/encoder.ts";
import {
  chooseLevel,
  type LevelDemand,
  levelNumbers,
  mostBitsPerSecond,
} from "../../../host/encoders/levels.ts";
import { planStream } from "../../../host/encoders/plan.ts";
import { configurationOf } from "./support/encode.ts";

type Row = readonly [width: number, height: number, rate: number, kbps: number, level: number];

function demandOf([width, height, rate, kbps]: Row, changes: Partial<LevelDemand> = {}): LevelDemand {
  return {
    codec: "h264",
    profile: "main",
    width,
    height,
    framerate: { numerator: rate, denominator: 1 },
    peakBitsPerSecond: kbps * 1000,
    bufferBits: kbps * 1000,
    ...changes,
  };
}

describe("the level that a stream needs", () => {
  it.each<Row>([
    [128, 96, 15, 64, 10],
    // One limit at a time requires the next level: bit rate, samples a second, picture, a side.
    [128, 96, 15, 65, 11],
    [176, 144, 16, 64, 11],
    [176, 160, 10, 64, 11],
    [1024, 16, 1, 64, 21],
    [320, 240, 30, 768, 13],
    [640, 480, 30, 4000, 30],
    [1280, 720, 30, 14000, 31],
    [1280, 720, 60, 14000, 32],
    [1920, 1080, 30, 20000, 40],
    [1920, 1080, 30, 20001, 41],
    [1920, 1080, 60, 20000, 42],
    [3840, 2160, 30, 50000, 51],
    [3840, 2160, 60, 50000, 52],
    [8192, 4320, 60, 100000, 61],
  ])("H.264 %ix%i at %i/s, %i kbit/s", (...row) => {
    expect(chooseLevel(demandOf(row), [])).toBe(row[4]);
  });

  it.each<Row>([
    [256, 144, 15, 128, 30],
    [256, 144, 16, 128, 60],
    [320, 240, 30, 1500, 60],
    [640, 360, 30, 1500, 63],
    [640, 480, 30, 6000, 90],
    [1280, 720, 30, 6000, 93],
    [1280, 720, 30, 10001, 120],
    [1920, 1080, 30, 12000, 120],
    [1920, 1080, 60, 20000, 123],
    [3840, 2160, 60, 40000, 153],
    [4208, 200, 1, 128, 120],
  ])("H.265 %ix%i at %i/s, %i kbit/s", (...row) => {
    expect(chooseLevel(demandOf(row, { codec: "h265" }), [])).toBe(row[4]);
  });

  it("counts a quarter more bits for High", () => {
    const row: Row = [1920, 1080, 30, 25000, 40];
    expect(chooseLevel(demandOf(row, { profile: "high", bufferBits: 0 }), [])).toBe(40);
    expect(chooseLevel(demandOf(row, { profile: "main", bufferBits: 0 }), [])).toBe(41);
    expect(mostBitsPerSecond("h264", "high", [])).toBe(1_000_000_000);
    expect(mostBitsPerSecond("h264", "main", [31, 30])).toBe(14_000_000);
    expect(mostBitsPerSecond("h265", "main", [])).toBe(240_000_000);
  });

  it("counts the coded picture buffer", () => {
    const row: Row = [1920, 1080, 30, 20000, 40];
    expect(chooseLevel(demandOf(row, { bufferBits: 25_000_000 }), [])).toBe(40);
    expect(chooseLevel(demandOf(row, { bufferBits: 25_000_001 }), [])).toBe(41);
  });

  it("is the lowest sufficient one of those allowed, in any order", () => {
    const demand = demandOf([1280, 720, 30, 2000, 31]);
    expect(chooseLevel(demand, [52, 42, 30])).toBe(42);
    expect(chooseLevel(demand, [31, 32])).toBe(31);
    const tiny = demandOf([128, 96, 15, 128, 11]);
    expect([chooseLevel(tiny, []), chooseLevel(tiny, [9, 10, 11])]).toEqual([11, 9]);
  });

  it("stays the same while it is allowed and sufficient", () => {
    const demand = demandOf([320, 240, 30, 100, 13]);
    expect(chooseLevel(demand, [], 40)).toBe(40);
    expect(chooseLevel(demand, [30, 31], 40)).toBe(30);
    expect(chooseLevel(demandOf([1280, 720, 30, 2000, 31]), [], 13)).toBe(31);
  });

  it("is named with the allowed levels and the limit when it is not allowed", () => {
    const rejected = (row: Row, allowed: readonly number[]) => () => chooseLevel(demandOf(row), allowed);
    expect(rejected([1280, 720, 60, 2000, 0], [31, 13])).toThrow(EncoderUnavailableError);
    expect(rejected([1280, 720, 60, 2000, 0], [31, 13])).toThrow(
      "the stream needs H.264 level 3.2, levels allows 1.3, 3.1: level 3.1 allows no more than 108000 macroblocks " +
        "a second (framerate), not 216000",
    );
    expect(rejected([1280, 720, 30, 2000, 0], [21])).toThrow(
      /792 macroblocks a picture \(width, height\), not 3600/,
    );
    expect(rejected([320, 240, 30, 2000, 0], [13])).toThrow(
      /768000 bits a second \(bitrate_kbps\), not 2000000/,
    );
    expect(rejected([320, 240, 1000, 900_000, 0], [])).toThrow(
      /beyond the levels of H.264 main: level 6.2 allows no more than 800000000 bits a second/,
    );
  });

  it("is sufficient, and no lower one is, for any stream", () => {
    const codec = fc.constantFrom("h264" as const, "h265" as const);
    const side = fc.integer({ min: 16, max: 16384 });
    const rate = fc.integer({ min: 1, max: 1000 });
    const kbps = fc.integer({ min: 1, max: 1_000_000 });
    fc.assert(
      fc.property(
        codec,
        side,
        side,
        rate,
        kbps,
        fc.array(fc.nat(190)),
        (name, width, height, fps, bits, some) => {
          const demand = demandOf([width, height, fps, bits, 0], { codec: name });
          const numbers = levelNumbers(name);
          const allowed = numbers.filter((number) => some.includes(number));
          const works = (one: number): boolean => {
            try {
              return chooseLevel(demand, [one]) === one;
            } catch (error) {
              expect(error).toBeInstanceOf(EncoderUnavailableError);
              return false;
            }
          };
          const candidates = allowed.length > 0 ? allowed : numbers.filter((one) => one !== 9);
          const lowest = candidates.find(works);
          if (lowest === undefined)
            expect(() => chooseLevel(demand, allowed)).toThrow(EncoderUnavailableError);
          else expect(chooseLevel(demand, allowed)).toBe(lowest);
        },
      ),
    );
  });
});

describe("a plan", () => {
  const OFFER = { maxWidth: 16384, maxHeight: 16384 };
  const plan = (changes: Parameters<typeof configurationOf>[0]) =>
    planStream(configurationOf(changes), { ...OFFER, profiles: PROFILES.h264 });

  it("has the first profile of the encoder by default, and rejects unsupported ones", () => {
    expect(plan({}).profile).toBe("constrained-baseline");
    expect(plan({ profile: "high" }).profile).toBe("high");
    expect(() => planStream(configurationOf({ profile: "high" }), { ...OFFER, profiles: ["main"] })).toThrow(
      /profile is high; it makes main/,
    );
  });

  it("has peak and buffer by rate control, and a level for the peak", () => {
    expect(plan({ bitrateKbps: 4000 })).toMatchObject({
      level: 21,
      rates: { bitsPerSecond: 4_000_000, peakBitsPerSecond: 4_000_000, bufferBits: 4_000_000 },
    });
    expect(plan({ bitrateKbps: 4000, rateControl: "vbr" })).toMatchObject({
      level: 30,
      rates: { bitsPerSecond: 4_000_000, peakBitsPerSecond: 8_000_000, bufferBits: 8_000_000 },
    });
    expect(plan({ bitrateKbps: 300_000 }).rates.bufferBits).toBe(100_000_000);
  });

  it("chooses a bit rate within the allowed levels", () => {
    const of = (width: number, height: number, numerator: number) =>
      ({ bitrateKbps: 0, width, height, framerate: { numerator, denominator: 1 } }) as const;
    expect(plan(of(1920, 1080, 60)).rates.bitsPerSecond).toBe(9_953_000);
    const small = of(128, 96, 15);
    expect(plan({ ...small, levels: [10] }).rates.bitsPerSecond).toBe(64_000);
    expect(plan({ ...small, levels: [10], rateControl: "vbr" }).rates).toMatchObject({
      bitsPerSecond: 32_000,
      peakBitsPerSecond: 64_000,
    });
  });
});
