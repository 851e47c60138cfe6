import { type Case, type CaseContext, FULL_HD, KEYFRAME_INTERVAL } from "../case.ts";
import type { Row } from "../report.ts";
import { quantile } from "../statistics.ts";
import { EchoClient } from "../support/echo-client.ts";
import { closedLoop, paced } from "../support/load.ts";
import { cpuTime } from "../support/process-usage.ts";
import { pictureMemory, Rig } from "../support/rig.ts";

const RATE = 60;
const MOST_PER_CENT = 5;
/** The load is the median over this many slices of the run, so that a disturbance has little effect. */
const SLICES = 10;

interface Load {
  /** Per cent of a core. */
  readonly others: number[];
  readonly encoders: number[];
}

/** Takes the CPU time of a process while `work` does `SLICES` slices of frames. */
async function loadDuring(pid: number, work: () => Promise<unknown>): Promise<Load> {
  const load: Load = { others: [], encoders: [] };
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

async function measure({ frames }: CaseContext, name: string, encoder: string): Promise<Row[]> {
  const rig = new Rig({ encoder, memory: pictureMemory(FULL_HD) });
  let echo: EchoClient | undefined;
  try {
    const slice = Math.max(1, Math.ceil(frames / SLICES));
    await rig.guest.open(FULL_HD, rig.pictures({ ...FULL_HD, drawn: encoder !== "null" }), KEYFRAME_INTERVAL);
    // Warm-up, in which V8 compiles.
    await closedLoop(rig.guest, frames, 1);
    await paced(rig.guest, slice, RATE);
    const exchange = { request: rig.guest.lastFrameBytes, answer: Buffer.concat(rig.guest.answerBytes) };
    const relay = await loadDuring(rig.pid, () => paced(rig.guest, slice, RATE));
    echo = await EchoClient.start(rig.folder, exchange);
    const { process } = echo;
    const client = echo;
    const pace = async (): Promise<void> => {
      for (let frame = 0; frame < slice; frame += 1) {
        await new Promise((resolve) => setTimeout(resolve, 1000 / RATE));
        await client.once();
      }
    };
    await echo.times(frames);
    await pace();
    const bare = await loadDuring(process.pid ?? 0, pace);
    const measured = quantile(relay.others, 0.5);
    const baseline = quantile(bare.others, 0.5);
    const encoding = quantile(relay.encoders, 0.5);
    const apart = encoding > 0 ? `, ${encoding.toFixed(0)} % of its encoder's thread apart` : "";
    return [
      {
        name,
        what: `relay's CPU, one 1080p stream at ${RATE} frames/s, ${encoder}${apart}`,
        unit: "% of a core",
        measured,
        p95: quantile(relay.others, 0.95),
        baseline: { what: "a bare echo of the same bytes at that pace", value: baseline },
        ratio: measured / baseline,
        samples: slice * SLICES,
        bound: `< ${MOST_PER_CENT} %`,
        met: measured < MOST_PER_CENT,
      },
    ];
  } finally {
    await echo?.stop();
    await rig.stop();
  }
}

/** CPU time of the relay without encoding. */
export const relayCpu: Case = {
  name: "relay-cpu",
  what: "CPU of the relay at 60 frames a second, encoder threads apart",
  inVm: false,
  async run(context) {
    const encoders = [...new Set(["null", context.encoder])];
    const rows: Row[] = [];
    for (const encoder of encoders) rows.push(...(await measure(context, this.name, encoder)));
    return { rows };
  },
};
