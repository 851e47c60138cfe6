import { until } from "../../support/until.ts";
import type { Case, Figure } from "../case.ts";
import { type Holdings, holdings, settled } from "../faults/leftovers.ts";
import { ATTACKS } from "../hostile/attacks.ts";
import { SIZE } from "../hostile/target.ts";
import { slope } from "../statistics.ts";
import { HostileRig } from "../support/hostile-rig.ts";
import { live } from "../support/live.ts";

const RATE = 30;
/** Two seconds beside each attack. */
const FRAMES = 60;
const MOST_GROWTH = 1.1;
const MIB = 2 ** 20;

/** All attacks, one after the other and again and again: nothing that they make the host take may stay. */
export const endurance: Case = {
  name: "endurance",
  what: "memory, descriptors and processes of the host after rounds of all attacks, beside a VM's streams",
  needsMinutes: true,
  run: ({ frames: most, encoder, attacks, minutes = 0 }) =>
    HostileRig.with(encoder, async (rig) => {
      const { guest, pictures } = rig;
      const frames = Math.min(most, FRAMES);
      await guest.open(SIZE, pictures);
      await live(guest, frames, RATE);
      const chosen = ATTACKS.filter(({ name }) => attacks?.includes(name) ?? true);
      const { processes } = await settled(rig.pid);
      const points: (Holdings & { readonly minute: number })[] = [];
      let [sent, delivered] = [0, 0];
      const started = performance.now();
      const minute = (): number => (performance.now() - started) / 60_000;
      do {
        for (const attack of chosen) {
          const { result } = await rig.during(attack, async () => {
            await guest.open(SIZE, pictures);
            return await live(guest, frames, RATE);
          });
          sent += frames;
          delivered += result.latencies.length;
        }
        // The attacked VM's worker ends when its sessions have been closed for a while.
        await until(() => holdings(rig.pid).processes <= processes, "the end of the attacked VM's worker");
        points.push({ ...holdings(rig.pid), minute: minute() });
        const last = points.at(-1)?.memory ?? 0;
        console.error(
          `[bench] endurance: ${minute().toFixed(0)} of ${minutes} min, ${(last / MIB).toFixed(0)} MiB`,
        );
      } while (minute() < minutes);
      const warm = points.slice(Math.floor(points.length / 3));
      const figure = (key: keyof Holdings, unit: string, scale: number): Figure => {
        // The line through all rounds: single ones differ by a third, as they end before or after a collection of V8's.
        const line = warm.map((point) => ({ x: point.minute / 60, y: point[key] / scale }));
        const perHour = warm.length > 1 ? slope(line) : 0;
        const mean = line.reduce((sum, { y }) => sum + y, 0) / line.length;
        const hours = (line.at(-1)?.x ?? 0) - (line[0]?.x ?? 0);
        const [begin, end] = [mean - (perHour * hours) / 2, mean + (perHour * hours) / 2];
        const trend = warm.length > 1 ? `; ${perHour.toFixed(1)} ${unit} an hour` : "";
        return {
          what: `${key} of the host after ${points.length} rounds of ${chosen.length} attacks in ${minute().toFixed(0)} min${trend}`,
          unit,
          measured: end,
          baseline: { what: "after the warm-up third", value: begin },
          ratio: end / begin,
          samples: points.length,
          bound: "flat (within 10 %)",
          met: end / begin <= MOST_GROWTH,
        };
      };
      return {
        rows: [
          figure("memory", "MiB", MIB),
          figure("descriptors", "descriptors", 1),
          figure("processes", "processes", 1),
          {
            what: `frames of the other VM that arrived, of ${sent}`,
            unit: "frames",
            measured: delivered,
            samples: sent,
            bound: "≥ 95 %",
            met: delivered >= 0.95 * sent,
          },
        ],
        charts: [
          {
            file: "endurance",
            kind: "lines",
            title: "Private memory of a host under attack, by minutes",
            yLabel: "MiB",
            labels: points.map((point) => point.minute.toFixed(0)),
            series: [{ label: "RssAnon", values: points.map(({ memory }) => memory / MIB) }],
          },
        ],
      };
    }),
};
