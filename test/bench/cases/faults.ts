import { buildElement, GST_ENVIRONMENT } from "../../element/support/programs.ts";
import { randomNumbers } from "../../support/random-numbers.ts";
import type { Case, Figure } from "../case.ts";
import { FAULTS, type Outcome } from "../faults/faults.ts";
import { spread } from "../statistics.ts";

const MOST_SECONDS = 2;
/** Of a relay's private memory. */
const MOST_GROWTH = 1.1;

function row(what: string, seed: number, outcome: Outcome): Figure {
  const { times, lost, wrong, left, memory } = outcome;
  const growth = (memory + left.memory) / memory;
  const worst = Math.max(...times);
  const words = [
    `kill -9 of ${what}, at random moments (seed ${seed}), to the next right picture, a key frame`,
    `worst ${worst.toFixed(0)} ms`,
    ...(lost === undefined ? [] : [`${lost} frames of lossless pipelines lost`]),
    `${wrong} wrong`,
    `left: ${left.descriptors} descriptors, ${left.processes} processes, memory × ${growth.toFixed(2)}`,
  ];
  const clean = (lost ?? 0) + wrong + left.descriptors + left.processes === 0 && growth <= MOST_GROWTH;
  return {
    what: words.join("; "),
    unit: "ms",
    ...spread(times),
    bound: `≤ ${MOST_SECONDS} s each, none lost or wrong, nothing left`,
    met: clean && worst <= MOST_SECONDS * 1000,
  };
}

/** Each of the processes of a running system, killed again and again. */
export const faults: Case = {
  name: "faults",
  what: "from kill -9 of each process to the next right picture; what is lost and what is left",
  async run({ encoder, kills, seed, faults: chosen }) {
    buildElement("pattern");
    Object.assign(process.env, GST_ENVIRONMENT);
    const rows: Figure[] = [];
    for (const { name, what, run } of FAULTS) {
      if (chosen?.includes(name) === false) continue;
      console.error(`[bench] faults: ${kills} × ${name}, seed ${seed}`);
      rows.push(row(what, seed, await run({ encoder, kills, random: randomNumbers(seed) })));
    }
    return { rows };
  },
};
