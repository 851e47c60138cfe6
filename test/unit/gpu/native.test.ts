import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";
import { packageRoot } from "../../../host/package-root.ts";

const TIMEOUT_MS = 300_000;
const ROUNDS = 3000;

function run(command: string, ...options: string[]): string {
  const result = spawnSync(command, options, { encoding: "utf8" });
  const output = `${result.stdout}${result.stderr}${result.error?.message ?? ""}`;
  expect(result.status, `${command} ${options.join(" ")}\n${output}`).toBe(0);
  return output;
}

it("sanitizers find nothing in random rings", { timeout: TIMEOUT_MS }, () => {
  const build = join(packageRoot, "build", "virtqueue-stress");
  run("cmake", "-S", join(import.meta.dirname, "native"), "-B", build);
  run("cmake", "--build", build);
  const output = run(join(build, "virtqueue-stress"), String(ROUNDS), "1");
  const [, chains, faults, broken] = /chains: (\d+) faults: (\d+) broken: (\d+)/.exec(output) ?? [];
  for (const count of [chains, faults, broken]) expect(Number(count)).toBeGreaterThan(100);
});
