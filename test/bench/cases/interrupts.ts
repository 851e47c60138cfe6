import { spawnSync } from "node:child_process";
import { buildElement, programPath } from "../../element/support/programs.ts";
import type { Case } from "../case.ts";
import { spread } from "../statistics.ts";

/** A live pipeline can be taken down between two frames of a slow source. */
const MOST_MS = 100;
const RUNS = 50;

const ACTIONS: Readonly<Record<string, string>> = {
  stop: "PAUSED→READY",
  flush: "FLUSH_START, until the streaming thread is back",
};

/** @returns microseconds by situation and action, e.g. "encoding stop" */
function measure(runs: number): Readonly<Record<string, readonly number[]>> {
  buildElement("interrupt-time");
  const { status, stdout, stderr } = spawnSync(programPath("interrupt-time"), [String(runs)], {
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`interrupt-time ended with ${status}: ${stderr}`);
  return JSON.parse(stdout);
}

/** Stopping and flushing the element while it waits for a host that hangs. */
export const interrupts: Case = {
  name: "interrupts",
  what: "stopping and flushing the element while the host hangs",
  async run({ frames }) {
    const times = measure(Math.min(RUNS, Math.ceil(frames / 10)));
    const rows = Object.entries(ACTIONS).map(([action, what]) => {
      const situations = Object.entries(times).filter(([key]) => key.endsWith(` ${action}`));
      const samples = situations.flatMap(([, values]) => values.map((us) => us / 1000));
      const longest = Math.max(...samples);
      const names = situations.map(([key]) => key.replace(` ${action}`, "")).join(", ");
      return {
        what: `${what}; the host hangs while: ${names}; at most ${longest.toFixed(1)} ms`,
        unit: "ms",
        ...spread(samples),
        bound: `every one < ${MOST_MS} ms`,
        met: longest < MOST_MS,
      };
    });
    return { rows };
  },
};
