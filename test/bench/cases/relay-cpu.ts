import { type Case, type CaseContext, type Figure, FULL_HD } from "../case.ts";
import { median, quantile } from "../statistics.ts";
import { startEcho } from "../support/echo-client.ts";
import { closedLoop, paced } from "../support/load.ts";
import { cpuTime } from "../support/processes.ts";
import { pictureMemory, withRig } from "../support/rig.ts";

const RATE = 60;
const MOST_PER_CENT = 5;
/** The load is the median over this many slices of the run, so that a disturbance has little effect. */
const SLICES = 10;

/** Takes the CPU time of a process while `work` does `SLICES` slices of frames. @returns per cent of a core, by slice */
async function loadDuring(pid: number, work: () => Promise<unknown>) {
  const load = { others: [] as number[], encoders: [] as number[] };
  for (let slice = 0; slice < SLICES; slice += 1) {
    const started = performance.now();
    const before = cpuTime(pid);
    await work();
    const after = cpuTime(pid);
    const elapsed = (performance.now() - started) * 1e6;
    load.others.push((100 * (after.others - before.others)) / elapsed);
    load.encoders.push((100 * (after.encoders - before.encoders)) / elapsed);
  }
  return load;
}

const measure = ({ frames }: CaseContext, encoder: string): Promise<Figure> =>
  withRig({ encoder, memory: pictureMemory(FULL_HD) }, async ({ guest, pid, folder, pictures }) => {
    const slice = Math.max(1, Math.ceil(frames / SLICES));
    await guest.open(FULL_HD, pictures(FULL_HD, encoder !== "null"));
    // Warm-up, in which V8 compiles.
    await closedLoop(guest, frames, 1);
    await paced(guest, slice, RATE);
    const exchange = guest.lastExchange();
    const relay = await loadDuring(pid, () => paced(guest, slice, RATE));
    const echo = await startEcho(folder, exchange);
    const pace = async (): Promise<void> => {
      for (let frame = 0; frame < slice; frame += 1) {
        await new Promise((resolve) => setTimeout(resolve, 1000 / RATE));
        await echo.once();
      }
    };
    try {
      await echo.times(frames);
      await pace();
      const bare = await loadDuring(echo.process.pid ?? 0, pace);
      const measured = median(relay.others);
      const baseline = median(bare.others);
      const encoding = median(relay.encoders);
      const apart = encoding > 0 ? `, ${encoding.toFixed(0)} % of its encoder's thread apart` : "";
      return {
        what: `relay's CPU, one 1080p stream at ${RATE} frames/s, ${encoder}${apart}`,
        unit: "% of a core",
        measured,
        p95: quantile(relay.others, 0.95),
        baseline: { what: "a bare echo of the same bytes at that pace", value: baseline },
        ratio: measured / baseline,
        samples: slice * SLICES,
        bound: `< ${MOST_PER_CENT} %`,
        met: measured < MOST_PER_CENT,
      };
    } finally {
      await echo.stop();
    }
  });

/** CPU time of the relay without encoding. */
export const relayCpu: Case = {
  name: "relay-cpu",
  what: "CPU of the relay at 60 frames a second, encoder threads apart",
  async run(context) {
    const rows: Figure[] = [];
    for (const encoder of new Set(["null", context.encoder])) rows.push(await measure(context, encoder));
    return { rows };
  },
};
