import { LIMITS } from "../../../proto/limits.ts";
import { until } from "../../support/until.ts";
import { type Case, HD } from "../case.ts";
import { median, slope } from "../statistics.ts";
import type { BenchGuest } from "../support/guest.ts";
import { closedLoop } from "../support/load.ts";
import { privateMemory } from "../support/processes.ts";
import { pictureMemory, withRig } from "../support/rig.ts";

/** How many times the limit a guest sends: frames at once, and frames in total. */
const FLOOD = 10;
const BURST = FLOOD * LIMITS.MAX_IN_FLIGHT_FRAMES;
/** Rounds of burst and honest stream, at most; the first third is warm-up. */
const MOST_ROUNDS = 60;
const LEAST_ROUNDS = 9;
const MOST_GROWTH = 1.1;

/** Sends a burst beyond all limits and waits until the relay rejects it, or has been fast enough to answer all of it. */
async function burst(guest: BenchGuest): Promise<void> {
  let answered = 0;
  guest.onAnswered = () => {
    answered += 1;
  };
  for (let frame = 0; frame < BURST; frame += 1) guest.sendFrame();
  const rejected = (): boolean => guest.received.some((each) => each.type === "error" && each.body.fatal);
  await until(() => rejected() || answered === BURST, "the end of the burst");
}

/** A guest floods its relay repeatedly; the relay's memory must not grow. */
export const flood: Case = {
  name: "flood",
  what: "memory of the relay under a tenfold flood of frames",
  run: ({ frames }) =>
    withRig({ encoder: "null", memory: pictureMemory(HD) }, async (rig) => {
      const pictures = rig.pictures(HD, false);
      const points: { x: number; y: number }[] = [];
      const rounds = Math.min(MOST_ROUNDS, Math.max(LEAST_ROUNDS, Math.ceil(frames / 10)));
      const honest = Math.ceil((frames * FLOOD) / rounds);
      for (let round = 0, sent = 0; round < rounds; round += 1) {
        await rig.guest.open(HD, pictures);
        await closedLoop(rig.guest, honest, LIMITS.MAX_IN_FLIGHT_FRAMES);
        await burst(rig.guest);
        sent += honest + BURST;
        points.push({ x: sent, y: privateMemory(rig.pid) / 2 ** 20 });
      }
      const warm = points.slice(rounds / 3);
      const tenth = Math.ceil(rounds / 10);
      const begin = median(warm.slice(0, tenth).map(({ y }) => y));
      const end = median(warm.slice(-tenth).map(({ y }) => y));
      const kibPerThousand = slope(warm) * 1000 * 1024;
      return {
        rows: [
          {
            what: `relay's private memory at the end of ${rounds} floods; slope after warm-up ${kibPerThousand.toFixed(0)} KiB per 1,000 frames`,
            unit: "MiB",
            measured: end,
            baseline: { what: "after the warm-up third", value: begin },
            ratio: end / begin,
            samples: points.at(-1)?.x ?? 0,
            bound: "flat (within 10 %)",
            met: end / begin <= MOST_GROWTH,
          },
        ],
        charts: [
          {
            file: "memory",
            kind: "lines",
            title: "Private memory of a relay under flood, by thousands of frames sent",
            yLabel: "MiB",
            labels: points.map(({ x }) => (x / 1000).toFixed(1)),
            series: [{ label: "RssAnon", values: points.map(({ y }) => y) }],
          },
        ],
      };
    }),
};
