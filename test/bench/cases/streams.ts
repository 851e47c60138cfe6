import { type Case, type CaseContext, type Figure, HD } from "../case.ts";
import type { Chart } from "../charts.ts";
import { spread } from "../statistics.ts";
import type { BenchGuest } from "../support/guest.ts";
import { pictureMemory, withRig } from "../support/rig.ts";

const COUNTS = [1, 2, 4, 8, 16];
const IN_FLIGHT = 2;
/** Frames of the null encoder for each frame of a real one, so that both take about as long. */
const NULL_FACTOR = 5;

interface Outcome {
  readonly streams: number;
  readonly framesPerSecond: number;
  /** Frames of the slowest stream, divided by those of the fastest. */
  readonly fairness: number;
  readonly latencies: readonly number[];
}

/** Keeps every guest's stream busy until `frames` have been answered in total. */
async function together(guests: readonly BenchGuest[], frames: number): Promise<Outcome> {
  const counts = guests.map(() => 0);
  const latencies: number[] = [];
  const started = performance.now();
  let ended = 0;
  await new Promise<void>((resolve) => {
    guests.forEach((guest, index) => {
      guest.onAnswered = ({ microseconds }) => {
        if (ended === 0) {
          counts[index] = (counts[index] ?? 0) + 1;
          latencies.push(microseconds);
          if (latencies.length < frames) {
            guest.sendFrame();
            return;
          }
          ended = performance.now();
        }
        // Frames in flight belong to this run; the next begins when they have been answered.
        if (guests.every(({ inFlight }) => inFlight === 0)) resolve();
      };
      for (let ahead = 0; ahead < IN_FLIGHT; ahead += 1) guest.sendFrame();
    });
  });
  return {
    streams: guests.length,
    framesPerSecond: (frames * 1000) / (ended - started),
    fairness: Math.min(...counts) / Math.max(...counts),
    latencies,
  };
}

const measure = (context: CaseContext, encoder: string): Promise<Outcome[]> =>
  withRig({ encoder, guests: Math.max(...COUNTS), memory: pictureMemory(HD) }, async (rig) => {
    const pictures = rig.pictures(HD, encoder !== "null");
    const frames = encoder === "null" ? context.frames * NULL_FACTOR : context.frames;
    for (const guest of rig.guests) await guest.open(HD, pictures);
    await together(rig.guests, frames);
    const outcomes: Outcome[] = [];
    for (const count of COUNTS) outcomes.push(await together(rig.guests.slice(0, count), frames));
    return outcomes;
  });

function row(encoder: string, outcome: Outcome, alone = outcome): Figure {
  const { streams, framesPerSecond, fairness, latencies } = outcome;
  const { measured, p95, samples } = spread(latencies.map((us) => us / 1000));
  const latency = `latency p50 ${measured.toFixed(2)} ms, p95 ${p95.toFixed(2)} ms`;
  return {
    what: `${streams} × 720p ${encoder}, all streams together; slowest/fastest ${fairness.toFixed(2)}; ${latency}`,
    unit: "frames/s",
    measured: framesPerSecond,
    baseline: { what: "one stream", value: alone.framesPerSecond },
    ratio: framesPerSecond / alone.framesPerSecond,
    samples,
  };
}

/** Many guests on one relay. */
export const streams: Case = {
  name: "streams",
  what: "1, 2, 4, 8 and 16 streams at once: frames a second, fairness, latency",
  async run(context) {
    const rows: Figure[] = [];
    const charts: Chart[] = [];
    for (const encoder of new Set(["null", context.encoder])) {
      const outcomes = await measure(context, encoder);
      rows.push(...outcomes.map((outcome) => row(encoder, outcome, outcomes[0])));
      charts.push({
        file: `streams-${encoder}`,
        kind: "bars",
        title: `Streams of 720p ${encoder} on one relay: frames a second, all together`,
        yLabel: "frames/s",
        labels: COUNTS.map(String),
        series: [{ label: "frames/s", values: outcomes.map(({ framesPerSecond }) => framesPerSecond) }],
      });
    }
    return { rows, charts };
  },
};
