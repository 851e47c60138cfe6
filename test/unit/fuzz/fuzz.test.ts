/** Short runs of the fuzz targets, from the committed corpus and with a fixed seed; docs/fuzzing.md describes longer ones. */
import { beforeAll, describe, expect, it } from "vitest";
import { buildTargets, fuzz } from "../../fuzz/fuzz.ts";
import { TARGETS } from "../../fuzz/targets.ts";
import { fuzzTypescript, type TypescriptTarget } from "../../fuzz/typescript-fuzzer.ts";
import { BUILD_HANG_MS } from "../../support/hang.ts";

const RUNS = 20_000;
const SEED = 1;
beforeAll(() => buildTargets(), BUILD_HANG_MS);

it.each([...TARGETS.keys()])(`%s survives ${RUNS} inputs`, { timeout: BUILD_HANG_MS }, async (name) => {
  const { runs } = await fuzz(name, { runs: RUNS, seed: SEED });
  expect(runs).toBeGreaterThanOrEqual(RUNS);
});

describe("the fuzzer for TypeScript", () => {
  /** Without coverage, 2^32 inputs would be needed to get to the end. */
  function maze(input: Buffer): number {
    if (input[0] !== 0x76) return 0;
    if (input[1] !== 0x65) return 1;
    if (input[2] !== 0x6e) return 2;
    if (input[3] !== 0x63) return 3;
    throw new Error("the end of the maze");
  }
  const target: TypescriptTarget = {
    files: ["test/unit/fuzz/fuzz.test.ts"],
    seeds: () => [Buffer.alloc(4)],
    property: () => maze,
  };

  it("is led by coverage to what chance would not find, and hands over the input", async () => {
    const finding = fuzzTypescript(target, [], { runs: 2_000_000, seed: SEED });
    await expect(finding).rejects.toMatchObject({ name: "Finding", input: expect.any(Buffer) });
    await finding.catch(({ input }: { input: Buffer }) =>
      expect(input.toString("latin1", 0, 4)).toBe("venc"),
    );
  });
});
