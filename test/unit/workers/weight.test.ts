import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { expect, it, onTestFinished } from "vitest";
import { weigh, weighSession, whyUnweighed } from "../../../host/workers/weight.ts";
import { until } from "../../support/until.ts";

/** Works until it gets a byte, and is idle then. */
const PROGRAM = `
  let isDone = false;
  process.stdin.once("data", () => { isDone = true; });
  (function work() { if (!isDone) setImmediate(work); })();
  setInterval(() => undefined, 1000);
`;

it.skipIf(whyUnweighed() !== undefined)(
  "a worker that is flooded has a small part of contended processors until the flood is over",
  async () => {
    const child = spawn(process.execPath, ["-e", PROGRAM], {
      stdio: ["pipe", "ignore", "inherit"],
      detached: true,
    });
    onTestFinished(() => void child.kill("SIGKILL"));
    const nice = (): number =>
      Number(/nice (-?\d+)/.exec(readFileSync(`/proc/${child.pid}/autogroup`, "utf8"))?.[1]);
    const weights: number[] = [];
    weigh(child, (weight) => {
      weights.push(weight);
      weighSession(child, weight);
    });
    expect(nice()).toBe(0);
    await until(() => nice() === 15, "the flood");
    child.stdin.write("x");
    await until(() => nice() === 0, "its end");
    expect(weights.filter((weight, n) => weight !== weights[n - 1])).toEqual([0.04, 1]);
  },
);
