/** Builds the fuzz targets with clang and runs one. */
import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../common/package-root.ts";
import { virtqueueSeeds, wireSeeds } from "./seeds.ts";

const SEEDS = { wire: wireSeeds, virtqueue: virtqueueSeeds } as const;
export type Target = keyof typeof SEEDS;
export const TARGETS = Object.keys(SEEDS) as Target[];

/** A target failed, or could not be built. */
export class FuzzError extends Error {
  override readonly name = "FuzzError";
}

const BUILD = join(packageRoot, "build", "fuzz");
/** The largest message; a guest's page is smaller. */
const MAX_INPUT_BYTES = 40_000;

function run(command: string, args: readonly string[], show: boolean): string {
  const result = spawnSync(command, args, {
    cwd: packageRoot,
    encoding: "utf8",
    maxBuffer: 1 << 28,
    stdio: ["ignore", "pipe", show ? "inherit" : "pipe"],
  });
  const output = `${result.stdout}${result.stderr ?? ""}${result.error?.message ?? ""}`;
  if (result.status === 0) return output;
  throw new FuzzError(`${command} ${args.join(" ")} failed:\n${output.slice(-8000)}`);
}

export function buildTargets(show = false): void {
  const compilers = ["-DCMAKE_C_COMPILER=clang", "-DCMAKE_CXX_COMPILER=clang++"];
  run("cmake", ["-S", import.meta.dirname, "-B", BUILD, "-G", "Ninja", ...compilers], show);
  run("cmake", ["--build", BUILD], show);
}

/**
 * Runs a target until a limit. New inputs stay in build/fuzz/corpus-TARGET for the next run with `seconds`, which shows
 * libFuzzer's progress; a run with `runs` starts from the vectors alone and a fixed seed, so it is reproducible.
 *
 * @returns libFuzzer's report
 * @throws FuzzError with the sanitizer's report; the input is in build/fuzz then
 */
export function fuzz(
  target: Target,
  limit: { readonly runs: number } | { readonly seconds: number },
): string {
  const seeds = join(BUILD, `seeds-${target}`);
  const corpus = join(BUILD, `corpus-${target}`);
  rmSync(seeds, { recursive: true, force: true });
  for (const folder of [seeds, corpus]) mkdirSync(folder, { recursive: true });
  for (const [i, bytes] of SEEDS[target]().entries()) writeFileSync(join(seeds, String(i)), bytes);
  const timed = "seconds" in limit;
  const limits = timed ? [`-max_total_time=${limit.seconds}`] : [`-runs=${limit.runs}`, "-seed=1"];
  const options = [`-max_len=${MAX_INPUT_BYTES}`, `-artifact_prefix=${BUILD}/${target}-`];
  const folders = timed ? [corpus, seeds] : [seeds];
  return run(join(BUILD, target), [...limits, ...options, "-print_final_stats=1", ...folders], timed);
}
