/** Builds programs of the guest for tests that run them on this machine. */
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../host/package-root.ts";

/**
 * Builds one of test/guest's programs and returns its path.
 *
 * Test files run side by side, and Ninja does not lock its folder; flock(1) lets them build one after the other.
 */
export function buildGuestProgram(target: string): string {
  const build = join(packageRoot, "build", "element");
  mkdirSync(build, { recursive: true });
  const locked = (...command: string[]) =>
    execFileSync("flock", [join(build, ".lock"), "cmake", ...command], { stdio: "ignore" });
  locked("-S", packageRoot, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=RelWithDebInfo");
  locked("--build", build, "--target", target);
  return join(build, "test", "guest", target);
}
