import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type BitrateRange,
  type BitrateState,
  initialBitrate,
  nextBitrate,
  type ViewerObservation,
} from "../../../viewer/server/bitrate.ts";
import { ViewerSourceError } from "../../../viewer/server/source.ts";
import { until } from "../../support/until.ts";
import { servers } from "./support/test-server.ts";
import { TestSource } from "./support/test-source.ts";

const clear: ViewerObservation = {
  receivedKbps: 5000,
  skipped: 0,
  received: 60,
  painted: 60,
  dropped: 0,
  decodeQueue: 1,
  roundTripUs: 10_000,
  shortestRoundTripUs: 8000,
};
const jammed: ViewerObservation = { ...clear, skipped: 20, receivedKbps: 2000, painted: 20 };

const doubtful: ViewerObservation = { ...clear, roundTripUs: clear.shortestRoundTripUs + 100_000 };
const late: ViewerObservation = { ...clear, dropped: 20 };

const ranges = fc
  .tuple(fc.integer({ min: 100, max: 50_000 }), fc.integer({ min: 0, max: 50_000 }))
  .map(([minKbps, span]): BitrateRange => ({ minKbps, maxKbps: minKbps + span }));
const count = fc.integer({ min: 0, max: 0xffff_ffff });
const observations: fc.Arbitrary<ViewerObservation> = fc.record({
  receivedKbps: fc.double({ min: 0, max: 1e9, noNaN: true }),
  skipped: fc.oneof(fc.constant(0), count),
  received: count,
  painted: fc.oneof(fc.constant(0), count),
  dropped: fc.oneof(fc.constant(0), count),
  decodeQueue: fc.oneof(fc.constant(0), count),
  roundTripUs: count,
  shortestRoundTripUs: count,
});
/** Any observation, and often a typical one. */
const anyone = fc.oneof(observations, fc.constantFrom(clear, doubtful, late, jammed));
const states = ranges.chain((range) =>
  fc.record({
    range: fc.constant(range),
    state: fc.record({
      kbps: fc.integer({ min: range.minKbps, max: range.maxKbps }),
      clear: fc.integer({ min: 0, max: 6 }),
      hold: fc.integer({ min: 0, max: 2 }),
    }),
  }),
);
const seconds = fc.array(fc.array(anyone, { maxLength: 4 }), { maxLength: 30 });

function run(range: BitrateRange, history: readonly (readonly ViewerObservation[])[]): BitrateState[] {
  const states = [initialBitrate(range)];
  for (const second of history) {
    states.push(nextBitrate(states.at(-1) ?? initialBitrate(range), second, range));
  }
  return states;
}

describe("the bit rate", () => {
  it("stays within its range, whatever viewers report", () => {
    fc.assert(
      fc.property(ranges, seconds, (range, history) => {
        for (const { kbps } of run(range, history)) {
          expect(Number.isInteger(kbps)).toBe(true);
          expect(kbps).toBeGreaterThanOrEqual(range.minKbps);
          expect(kbps).toBeLessThanOrEqual(range.maxKbps);
        }
      }),
    );
  });

  it("never rises while one viewer is congested", () => {
    fc.assert(
      fc.property(states, fc.array(fc.constant(clear)), ({ range, state }, others) => {
        expect(nextBitrate(state, [...others, jammed], range).kbps).toBeLessThanOrEqual(state.kbps);
      }),
    );
  });

  it("follows the worst viewer: another one never raises it", () => {
    fc.assert(
      fc.property(states, fc.array(anyone, { minLength: 1 }), anyone, ({ range, state }, all, one) => {
        // Without an active viewer nothing changes.
        fc.pre(all.some(({ painted, skipped }) => painted > 0 || skipped > 0));
        const without = nextBitrate(state, all, range).kbps;
        expect(nextBitrate(state, [...all, one], range).kbps).toBeLessThanOrEqual(without);
      }),
      { numRuns: 1000 },
    );
  });

  it("falls by half at most, and not again before the effect shows", () => {
    fc.assert(
      fc.property(ranges, seconds, (range, history) => {
        const states = run(range, history).map(({ kbps }) => kbps);
        states.forEach((kbps, second) => {
          const before = states[second - 1] ?? kbps;
          if (kbps >= before) return;
          // Rounding may take half a kbit more.
          expect(kbps).toBeGreaterThanOrEqual(Math.floor(before / 2));
          expect(states[second + 1] ?? kbps).toBeGreaterThanOrEqual(kbps);
        });
      }),
    );
  });

  it("falls to the minimum in lasting congestion, and rises to the maximum after it", () => {
    fc.assert(
      fc.property(ranges, (range) => {
        const states = run(range, [...Array(80).fill([jammed]), ...Array(40).fill([clear])]);
        expect(states[80]?.kbps).toBe(range.minKbps);
        expect(states.at(-1)?.kbps).toBe(range.maxKbps);
      }),
    );
  });

  it("rises after some clear seconds, counted again after a doubtful one", () => {
    const range = { minKbps: 1000, maxKbps: 10_000 };
    const rises = (history: ViewerObservation[]): number[] => {
      let state: BitrateState = { kbps: 2000, clear: 0, hold: 0 };
      return history.map((one) => {
        state = nextBitrate(state, [one], range);
        return state.kbps;
      });
    };
    expect(rises([clear, clear, clear, clear, clear])).toEqual([2000, 2000, 2000, 2450, 2900]);
    const interrupted = [clear, clear, clear, doubtful, clear, clear, clear, clear];
    expect(rises(interrupted)).toEqual([...Array(7).fill(2000), 2450]);
  });

  it.each<[string, Partial<ViewerObservation>]>([
    ["units had to be skipped", { skipped: 1 }],
    ["the round trip has become long", { roundTripUs: 200_000 }],
    ["the decoder does not keep up", { decodeQueue: 9 }],
    ["many pictures came too late", { dropped: 20 }],
  ])("falls when %s", (_why, change) => {
    const range = { minKbps: 1000, maxKbps: 10_000 };
    expect(nextBitrate(initialBitrate(range), [clear], range).kbps).toBe(10_000);
    expect(nextBitrate(initialBitrate(range), [{ ...clear, ...change }], range).kbps).toBeLessThan(10_000);
  });

  it("ignores a page in the background, which paints nothing", () => {
    const range = { minKbps: 1000, maxKbps: 10_000 };
    const hidden = { ...clear, painted: 0, dropped: 60 };
    expect(nextBitrate(initialBitrate(range), [hidden], range)).toEqual(initialBitrate(range));
  });

  it("falls to the measured capacity of a full connection", () => {
    const range = { minKbps: 1000, maxKbps: 10_000 };
    const full = { ...jammed, receivedKbps: 7000 };
    expect(nextBitrate(initialBitrate(range), [full], range).kbps).toBe(6300);
  });
});

describe("a source's bit rate", () => {
  const serve = servers();
  const healthy = {
    periodMs: 1000,
    received: 60,
    receivedBytes: 500_000,
    decoded: 60,
    painted: 60,
    dropped: 0,
    decodeQueue: 1,
    roundTripUs: 5000,
  };

  it("starts at the maximum and follows the worst viewer's reports", async () => {
    const range = { minKbps: 1000, maxKbps: 8000 };
    const { source, viewer: good, other: bad } = await serve.watched({ bitrate: range }, 2);
    expect(source.bitrates).toEqual([8000]);
    // Each decision follows Statistics; a report after them is for the next one.
    for (let decisions = 0; source.bitrates.length < 3; decisions += 1) {
      good.send({ type: "report", body: healthy });
      bad.send({ type: "report", body: { ...healthy, dropped: 30 } });
      await until(() => good.all("statistics").length > decisions, "a decision");
    }
    expect(source.bitrates).toEqual([8000, 6000, 4500]);
  });

  it("requires a valid range", async () => {
    const { server } = await serve();
    for (const [minKbps, maxKbps] of [
      [0, 10],
      [20, 10],
      [1, 2_000_000],
      [Number.NaN, 10],
    ] as const) {
      const add = (): void => server.add(new TestSource(), { bitrate: { minKbps, maxKbps } });
      expect(add, `${minKbps} to ${maxKbps}`).toThrow(ViewerSourceError);
    }
  });

  it("is fixed without a range", async () => {
    const { source, viewer } = await serve.watched();
    viewer.send({ type: "report", body: { ...healthy, dropped: 60 } });
    await until(() => viewer.all("statistics").length === 2, "two decisions");
    expect(source.bitrates).toEqual([]);
  });
});
