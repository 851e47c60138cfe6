/** Short runs of the fuzz targets in TypeScript, and their fuzzer. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";
import { fuzzTypescript, type TypescriptTarget } from "../../fuzz/typescript-fuzzer.ts";
import { temporaryFolder } from "../../support/folder.ts";
import { surviveAMinute } from "./minute.ts";

const SEED = 1;

surviveAMinute("typescript");

describe("the fuzzer for TypeScript", () => {
  const folder = temporaryFolder();

  /** Without coverage, 2^32 inputs would be needed to get to the end. */
  function maze(input: Buffer): number {
    if (input[0] !== 0x76) return 0;
    if (input[1] !== 0x65) return 1;
    if (input[2] !== 0x6e) return 2;
    if (input[3] !== 0x63) return 3;
    throw new Error("the end of the maze");
  }
  const target: TypescriptTarget = {
    files: ["test/unit/fuzz/typescript.test.ts"],
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

  it("keeps an input that does not end, and ends the process", () => {
    const file = join(folder, "hang");
    const program = `
      import { fuzzTypescript } from "./test/fuzz/typescript-fuzzer.ts";
      const property = () => (input) => { while (input.length > 2); };
      const target = { files: [], seeds: () => [Buffer.from("ab")], property };
      await fuzzTypescript(target, [], { seed: 1, hang: { file: ${JSON.stringify(file)}, seconds: 1 } });`;
    const args = ["--import", "tsx", "--input-type=module", "--eval", program];
    const { signal, stderr } = spawnSync(process.execPath, args, { cwd: packageRoot, encoding: "utf8" });
    expect(signal).toBe("SIGKILL");
    expect(stderr).toContain(`has not ended after 1 s; it is in ${file}`);
    expect(readFileSync(file).length).toBeGreaterThan(2);
  });
});
