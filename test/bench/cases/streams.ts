import { type Case, type CaseContext, HD, KEYFRAME_INTERVAL } from "../case.ts";
import type { Chart } from "../charts.ts";
import type { Row } from "../report.ts";
import { median, quantile } from "../statistics.ts";
import type { BenchGuest } from "../support/guest.ts";
import { pictureMemory, Rig } from "../support/rig.ts";

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

async function measure(context: CaseContext, encoder: string): Promise<Outcome[]> {
  const most = Math.max(...COUNTS);
  const rig = new Rig({ encoder, guests: most, memory: pictureMemory(HD) });
  try {
    const pictures = rig.pictures({ ...HD, drawn: encoder !== "null" });
    const frames = encoder === "null" ? context.frames * NULL_FACTOR : context.frames;
    for (const guest of rig.guests) await guest.open(HD, pictures, KEYFRAME_INTERVAL);
    await together(rig.guests, frames);
    const outcomes: Outcome[] = [];
    for (const count of COUNTS) outcomes.push(await together(rig.guests.slice(0, count), frames));
    return outcomes;
  } finally {
    await rig.stop();
  }
}

function row(name: string, encoder: string, outcome: Outcome, alone: Outcome): Row {
  const { streams, framesPerSecond, fairness, latencies } = outcome;
  const slowest = `slowest/fastest ${fairness.toFixed(2)}`;
  const latency = `latency p50 ${(median(latencies) / 1000).toFixed(2)} ms, p95 ${(quantile(latencies, 0.95) / 1000).toFixed(2)} ms`;
  return {
    name,
    what: `${streams} × 720p ${encoder}, all streams together; ${slowest}; ${latency}`,
    unit: "frames/s",
    measured: framesPerSecond,
    baseline: { what: "one stream", value: alone.framesPerSecond },
    ratio: framesPerSecond / alone.framesPerSecond,
    samples: latencies.length,
  };
}

function chart(encoder: string, outcomes: readonly Outcome[]): Chart {
  return {
    file: `streams-${encoder}`,
    kind: "bars",
    title: `Streams of 720p ${encoder} on one relay: frames a second, all together`,
    yLabel: "frames/s",
    labels: outcomes.map(({ streams }) => String(streams)),
    series: [{ label: "frames/s", values: outcomes.map(({ framesPerSecond }) => framesPerSecond) }],
  };
}

/** Many guests on one relay. */
export const streams: Case = {
  name: "streams",
  what: "1, 2, 4, 8 and 16 streams at once: frames a second, fairness, latency",
  inVm: false,
  async run(context) {
    const rows: Row[] = [];
    const charts: Chart[] = [];
    for (const encoder of new Set(["null", context.encoder])) {
      const outcomes = await measure(context, encoder);
      const [alone] = outcomes;
      if (alone !== undefined) {
        rows.push(...outcomes.map((outcome) => row(this.name, encoder, outcome, alone)));
      }
      charts.push(chart(encoder, outcomes));
    }
    return { rows, charts };
  },
};
