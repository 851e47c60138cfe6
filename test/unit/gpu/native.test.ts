import { join } from "node:path";
import { expect, it } from "vitest";
import { BUILD_HANG_MS } from "../../support/hang.ts";
import { compile, runToEnd } from "../../support/native-program.ts";

const ROUNDS = 3000;

it("sanitizers find nothing in random rings", { timeout: BUILD_HANG_MS }, () => {
  const build = compile(join(import.meta.dirname, "native"), "virtqueue-stress");
  const output = runToEnd(join(build, "virtqueue-stress"), String(ROUNDS), "1");
  const [, chains, faults, broken] = /chains: (\d+) faults: (\d+) broken: (\d+)/.exec(output) ?? [];
  for (const count of [chains, faults, broken]) expect(Number(count)).toBeGreaterThan(100);
});
