import { expect, it } from "vitest";
import { fuzz } from "../../fuzz/fuzz.ts";
import { TARGETS, type Target } from "../../fuzz/targets.ts";
import { BUILD_HANG_MS } from "../../support/hang.ts";

const SECONDS = 60;
/** Even on a slow machine. */
const LEAST_RUNS = 5000;
const SEED = 1;

/** Tests each target of a kind; docs/fuzzing.md describes longer runs. */
export function surviveAMinute(wanted: Target["kind"]): void {
  const names = [...TARGETS].filter(([, { kind }]) => kind === wanted).map(([name]) => name);
  it.each(names)("%s survives a minute", { timeout: BUILD_HANG_MS }, async (name) => {
    const { runs } = await fuzz(name, { seconds: SECONDS, seed: SEED });
    expect(runs).toBeGreaterThanOrEqual(LEAST_RUNS);
  });
}
