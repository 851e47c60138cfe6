/** Short runs of the fuzz targets, from the vectors and with a fixed seed; docs/fuzzing.md describes longer ones. */
import { beforeAll, expect, it } from "vitest";
import { buildTargets, fuzz, TARGETS } from "../../fuzz/fuzz.ts";
import { BUILD_HANG_MS } from "../../support/hang.ts";

const RUNS = 20_000;
beforeAll(() => buildTargets(), BUILD_HANG_MS);

it.each(TARGETS)(`%s survives ${RUNS} inputs`, { timeout: BUILD_HANG_MS }, (target) => {
  const report = fuzz(target, { runs: RUNS });
  expect(Number(/number_of_executed_units: (\d+)/.exec(report)?.[1])).toBeGreaterThanOrEqual(RUNS);
});
