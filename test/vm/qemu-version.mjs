// QEMU's versions, for the harness and scripts/setup.mjs. Plain JavaScript because setup runs before anything is installed.
import { readFileSync } from "node:fs";

const packageFile = new URL("../../package.json", import.meta.url);

/** The oldest that is tested (stated in package.json). Older ones refuse vhost-user-gpu without KVM ("vhost initialization failed: requires kvm"). */
export const MINIMUM_QEMU = JSON.parse(readFileSync(packageFile, "utf8")).vsockenc.minimumQemu;

/** The version in what `qemu-system-x86_64 --version` prints, e.g. "10.0.2"; undefined when there is none. */
export function parseQemuVersion(text) {
  return /QEMU emulator version (\d+\.\d+(?:\.\d+)?)/.exec(text)?.[1];
}

/** Whether `version` is at least `minimum`, number by number. */
export function isAtLeast(version, minimum) {
  const wanted = minimum.split(".").map(Number);
  const given = version.split(".").map(Number);
  for (const [index, number] of wanted.entries()) {
    const other = given[index] ?? 0;
    if (other !== number) {
      return other > number;
    }
  }
  return true;
}
