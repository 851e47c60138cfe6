/**
 * The VideoToolbox back end's own sources, compiled unchanged against test/videotoolbox-shim and run on Linux. That
 * shows control flow, ownership, Annex B and the way out of every error; it shows nothing about latency or about what a
 * Mac accepts.
 */
import { spawnSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../../host/package-root.ts";

/** Compilers at one time. */
const CORES = String(availableParallelism());
/** Under a load of its own: two builds with sanitizers. */
const TIMEOUT_MS = 600_000;

function run(command: string, ...options: string[]): string {
  const result = spawnSync(command, options, { encoding: "utf8" });
  const output = `${result.stdout}${result.stderr}${result.error?.message ?? ""}`;
  expect(result.status, `${command} ${options.join(" ")}\n${output}`).toBe(0);
  return output;
}

describe("the VideoToolbox back end under sanitizers", () => {
  it.each(["address,undefined", "thread"])(
    "-fsanitize=%s finds nothing while VideoToolbox does all that it may do",
    (sanitize) => {
      const build = join(packageRoot, "build", `videotoolbox-${sanitize.replace(",", "-")}`);
      run("cmake", "-S", join(import.meta.dirname, "native"), "-B", build, `-DVSOCKENC_SANITIZE=${sanitize}`);
      run("cmake", "--build", build, "--target", "videotoolbox-test", "--parallel", CORES);
      const passed = run(join(build, "videotoolbox-test")).match(/^ok /gm) ?? [];
      expect(passed.length).toBeGreaterThan(80);
    },
    TIMEOUT_MS,
  );

  it(
    "the stand-in itself behaves as it is told to",
    () => {
      const build = join(packageRoot, "build", "videotoolbox-address-undefined");
      run("cmake", "--build", build, "--target", "videotoolbox-shim-self-test", "--parallel", CORES);
      run("ctest", "--test-dir", join(build, "videotoolbox-shim"), "--output-on-failure");
    },
    TIMEOUT_MS,
  );
});
