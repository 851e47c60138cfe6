// The oldest QEMU that this project is tested with, stated once: the harness and scripts/setup.mjs both read it here.
// Plain JavaScript because setup runs before anything is installed.

/** Older ones refuse vhost-user-gpu without KVM ("vhost initialization failed: requires kvm"). */
export const MINIMUM_QEMU = "10.0";

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
