/** Programs of native code that a test compiles and runs. */
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { packageRoot } from "../../common/package-root.ts";

/** Runs a command in the checkout to its end. @returns what it printed @throws Error with that if its status is not 0 */
export function runToEnd(command: string, ...options: readonly string[]): string {
  const result = spawnSync(command, options, { cwd: packageRoot, encoding: "utf8", maxBuffer: 1 << 26 });
  const output = `${result.stdout}${result.stderr}${result.error?.message ?? ""}`;
  if (result.status !== 0) throw new Error(`${command} ${options.join(" ")}: ${result.status}\n${output}`);
  return output;
}

/**
 * Runs a command that builds in `folder`, one after the other: test files run side by side, and Ninja does not lock its
 * folder.
 */
export function buildAlone(folder: string, ...command: readonly string[]): void {
  mkdirSync(folder, { recursive: true });
  runToEnd("flock", join(folder, ".lock"), ...command);
}

/**
 * Compiles a folder that has a CMakeLists.txt, on all cores; what is compiled already stays.
 *
 * @param name of the build's folder below build/native/
 * @param definitions e.g. SANITIZE=thread
 * @returns the build's folder
 */
export function compile(folder: string, name: string, ...definitions: readonly string[]): string {
  const build = join(packageRoot, "build", "native", name);
  runToEnd("cmake", "-S", folder, "-B", build, "-G", "Ninja", ...definitions.map((text) => `-D${text}`));
  runToEnd("cmake", "--build", build, "--parallel", String(availableParallelism()));
  return build;
}
