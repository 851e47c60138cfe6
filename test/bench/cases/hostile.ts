import { pino } from "pino";
import { MemfdExporter } from "../../support/memfd/memfd-exporter.ts";
import { until } from "../../support/until.ts";
import type { Case, Figure } from "../case.ts";
import type { Tally } from "../hostile/assailant.ts";
import { ATTACKS, type Attack } from "../hostile/attacks.ts";
import { SIZE } from "../hostile/target.ts";
import { median, quantile } from "../statistics.ts";
import { BenchGuest } from "../support/guest.ts";
import { draw, HostileRig, type Usage } from "../support/hostile-rig.ts";
import { type Live, live } from "../support/live.ts";
import { pictureMemory } from "../support/rig.ts";

const RATE = 30;
/** Eight seconds. */
const FRAMES = 240;
const LEAST_SHARE = 0.95;
const MOST_RATIO = 1.5;
/** Of the slower of two VMs with the same load, and of one stream beside four. */
const LEAST_FAIRNESS = 0.9;
/** An honest guest that could not open its stream within this time has lost it. */
const OPEN_MS = 10_000;
const PAGE_MS = 250;
/** Controls: the bound is on the relay, which does nothing for them. */
const CONTROLS = ["nothing", "own-load"];

interface Run extends Live {
  readonly openMs: number;
  readonly usage: Usage;
}

/** A new stream of the honest VM. */
async function stream(rig: HostileRig, frames: number): Promise<Run> {
  const { guest, pictures } = rig;
  const { result, usage } = await rig.watched(async () => {
    const started = performance.now();
    let late: NodeJS.Timeout | undefined;
    const opened = guest.open(SIZE, pictures);
    const timeout = new Promise<never>((_resolve, reject) => {
      late = setTimeout(() => reject(new Error(`no stream within ${OPEN_MS / 1000} s`)), OPEN_MS);
    });
    try {
      await Promise.race([opened, timeout]);
    } catch (error) {
      // It may still be trying, and ends with the next stream.
      opened.catch(() => undefined);
      return { latencies: [], failure: String(error), openMs: performance.now() - started };
    } finally {
      clearTimeout(late);
    }
    const openMs = performance.now() - started;
    return { ...(await live(guest, frames, RATE)), openMs };
  });
  return { ...result, usage };
}

const p95 = ({ latencies }: Live): number => quantile(latencies, 0.95);

function describe({ openMs, usage, failure }: Run): string {
  const { processes, threads, memory } = usage;
  const host = `host ${processes} processes, ${threads} threads, ${(memory / 2 ** 20).toFixed(0)} MiB`;
  return `opened in ${openMs.toFixed(0)} ms; ${host}${failure === undefined ? "" : `; ${failure}`}`;
}

function row({ name, what }: Attack, run: Run, frames: number, tally: Tally, undisturbed: Run): Figure {
  const delivered = run.latencies.length;
  const ratio = p95(run) / p95(undisturbed);
  const attacker = `${(tally.bytes / 1e6).toFixed(1)} MB sent, ${tally.answers} answers`;
  const figure = {
    what: `${name}: ${what}; ${delivered} of ${frames} frames; ${describe(run)}; ${attacker}`,
    unit: "ms",
    // JSON has no NaN.
    measured: delivered === 0 ? 0 : median(run.latencies),
    ...(delivered === 0 ? {} : { p95: p95(run), ratio }),
    samples: frames,
  };
  if (CONTROLS.includes(name)) return figure;
  return {
    ...figure,
    bound: `≥ ${LEAST_SHARE * 100} % of frames, p95 ≤ ${MOST_RATIO} × undisturbed`,
    met: delivered >= LEAST_SHARE * frames && ratio <= MOST_RATIO,
  };
}

/** How often the viewer's page is served to one that asks for it again and again, while `body` runs. */
async function servedDuring<T>(rig: HostileRig, body: () => Promise<T>) {
  let [asked, served, over] = [0, 0, false];
  const browser = (async () => {
    while (!over) {
      asked += 1;
      if (await rig.pageServed()) served += 1;
      await new Promise((resolve) => setTimeout(resolve, PAGE_MS));
    }
  })();
  const result = await body();
  over = true;
  await browser;
  return { result, asked, served };
}

/** Keeps two frames of every guest in flight for as long as `frames` frames take. @returns those of each guest */
async function shares(guests: readonly BenchGuest[], frames: number): Promise<number[]> {
  const counts = guests.map(() => 0);
  let over = false;
  guests.forEach((guest, index) => {
    guest.onAnswered = () => {
      if (over) return;
      counts[index] = (counts[index] ?? 0) + 1;
      guest.sendFrame();
    };
    for (let ahead = 0; ahead < 2; ahead += 1) guest.sendFrame();
  });
  await new Promise((resolve) => setTimeout(resolve, (frames * 1000) / RATE));
  over = true;
  await until(() => guests.every(({ inFlight }) => inFlight === 0), "the last frames");
  return counts;
}

/** Two VMs that encode as much as they can: with one stream each, and one stream beside four. */
async function fairness(rig: HostileRig, frames: number): Promise<Figure[]> {
  const { ports, export: path } = rig.target;
  rig.clear();
  const exporter = new MemfdExporter({ path, bytes: pictureMemory(SIZE) }, pino({ level: "silent" }));
  draw(exporter);
  const others = ports.map((port) => new BenchGuest(port));
  try {
    for (const guest of [rig.guest, ...others]) await guest.open(SIZE, rig.pictures);
    const all: Figure[] = [];
    for (const streams of [1, others.length]) {
      const [own = 0, ...theirs] = await shares([rig.guest, ...others.slice(0, streams)], frames);
      const other = theirs.reduce((sum, count) => sum + count, 0);
      // With more streams, a VM may use what the other leaves; the other's share is at least that of an equal.
      const ratio =
        streams === 1 ? Math.min(own, other) / Math.max(own, other) : own / (all[0]?.measured ?? 1);
      all.push({
        what:
          streams === 1
            ? `two VMs with a stream each at full speed: ${own} and ${other} frames; slower/faster`
            : `the first beside ${streams} streams of the second: ${own} and ${other} frames; to its frames beside one`,
        unit: "frames",
        measured: own,
        ratio,
        samples: own + other,
        bound: `≥ ${LEAST_FAIRNESS}`,
        met: ratio >= LEAST_FAIRNESS,
      });
    }
    return all;
  } finally {
    for (const guest of others) guest.close();
    exporter.close();
  }
}

/** A healthy VM's stream beside attacks of another VM, of viewers and of clients. */
export const hostile: Case = {
  name: "hostile",
  what: "a VM's stream of 720p, 30 frames/s beside each attack of another, and two VMs that share the processors",
  run: ({ frames: most, encoder, attacks }) =>
    HostileRig.with(encoder, async (rig) => {
      const frames = Math.min(most, FRAMES);
      // Starts the VM's worker, in which V8 compiles.
      await stream(rig, frames);
      const [first, second] = [await stream(rig, frames), await stream(rig, frames)];
      // The p95 of so few frames varies from stream to stream.
      const undisturbed = { ...second, latencies: [...first.latencies, ...second.latencies] };
      const rows: Figure[] = [
        {
          what: `undisturbed; ${undisturbed.latencies.length} of ${2 * frames} frames; ${describe(undisturbed)}`,
          unit: "ms",
          measured: median(undisturbed.latencies),
          p95: p95(undisturbed),
          samples: 2 * frames,
        },
      ];
      for (const attack of ATTACKS.filter(({ name }) => attacks?.includes(name) ?? true)) {
        console.error(`[bench] hostile: ${attack.name}`);
        const run = () => stream(rig, frames);
        if (attack.name !== "silent-viewers") {
          const { result, tally } = await rig.during(attack, run);
          rows.push(row(attack, result, frames, tally, undisturbed));
          continue;
        }
        const { result, tally } = await rig.during(attack, () => servedDuring(rig, run));
        const { asked, served } = result;
        rows.push(row(attack, result.result, frames, tally, undisturbed), {
          what: `${attack.name}: how often the viewer's page was served to one who asked ${asked} times`,
          unit: "times",
          measured: served,
          samples: asked,
          bound: "each time",
          met: served === asked,
        });
      }
      if (attacks === undefined) rows.push(...(await fairness(rig, frames)));
      return { rows };
    }),
};
