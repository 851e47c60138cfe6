import { join } from "node:path";
import { expect, it } from "vitest";
import { compile, runToEnd } from "../../support/native-program.ts";

const TIMEOUT_MS = 300_000;
const ROUNDS = 3000;

it("sanitizers find nothing in random rings", { timeout: TIMEOUT_MS }, () => {
  const build = compile(join(import.meta.dirname, "native"), "virtqueue-stress");
  const output = runToEnd(join(build, "virtqueue-stress"), String(ROUNDS), "1");
  const [, chains, faults, broken] = /chains: (\d+) faults: (\d+) broken: (\d+)/.exec(output) ?? [];
  for (const count of [chains, faults, broken]) expect(Number(count)).toBeGreaterThan(100);
});
