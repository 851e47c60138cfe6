import { spawnSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../../host/package-root.ts";

/** Compilers at one time. */
const CORES = String(availableParallelism());
/** Under a load of its own: two builds with sanitizers. */
const TIMEOUT_MS = 300_000;

function run(command: string, ...options: string[]): string {
  const result = spawnSync(command, options, { encoding: "utf8" });
  const output = `${result.stdout}${result.stderr}${result.error?.message ?? ""}`;
  expect(result.status, `${command} ${options.join(" ")}\n${output}`).toBe(0);
  return output;
}

describe("the native core under sanitizers", () => {
  it.each(["address,undefined", "thread"])(
    "-fsanitize=%s finds nothing in hostile layouts and cut-off sessions",
    (sanitize) => {
      const build = join(packageRoot, "build", `media-stress-${sanitize.replace(",", "-")}`);
      run("cmake", "-S", join(import.meta.dirname, "native"), "-B", build, `-DSANITIZE=${sanitize}`);
      run("cmake", "--build", build, "--parallel", CORES);
      const [, guarded] = /guarded conversions: (\d+)/.exec(run(join(build, "media-stress"))) ?? [];
      expect(Number(guarded)).toBeGreaterThan(100);
    },
    TIMEOUT_MS,
  );
});
