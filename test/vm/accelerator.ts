/**
 * QEMU itself: its version, and whether KVM can be used. /dev/kvm may exist, QEMU may even start with it, and the first
 * instructions of a guest kernel fail all the same (nested or emulated virtualisation). So KVM is used only after it
 * has booted the guest's own kernel up to its first process; the answer is kept until the machine restarts.
 */
import { spawn, spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cacheRoot, contentKey, staleEntries } from "./cache.ts";
import { RequirementError } from "./errors.ts";
import type { GuestImage } from "./image.ts";
import { isAtLeast, MINIMUM_QEMU, parseQemuVersion } from "./qemu-version.mjs";

export const QEMU = "qemu-system-x86_64";
export type Accelerator = "kvm" | "tcg";

const PROBE_TIMEOUT_MS = 8_000;

/** QEMU's version, or an error with the fix when it is missing or too old. */
export function checkQemu(): string {
  const result = spawnSync(QEMU, ["--version"], { encoding: "utf8" });
  if (result.error !== undefined) {
    throw new RequirementError(`${QEMU} is not installed. Run: npm run setup -- --for vm`);
  }
  const version = parseQemuVersion(result.stdout);
  if (version === undefined || !isAtLeast(version, MINIMUM_QEMU)) {
    throw new RequirementError(
      `QEMU ${version ?? "of an unknown version"} is installed; ${MINIMUM_QEMU} is the oldest that works ` +
        `(older ones refuse vhost-user-gpu without KVM). Run: npm run setup -- --for vm`,
    );
  }
  return version;
}

/** KVM where it really works; VSOCKENC_ACCEL=kvm or tcg decides otherwise. */
export async function chooseAccelerator(
  image: GuestImage,
  initrd: string,
  qemuVersion: string,
  log: (line: string) => void,
): Promise<Accelerator> {
  const wanted = process.env["VSOCKENC_ACCEL"];
  if (wanted === "kvm" || wanted === "tcg") {
    return wanted;
  }
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
  } catch {
    return "tcg";
  }
  const machineBoot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8");
  const answer = join(cacheRoot(), `kvm-${contentKey([machineBoot, qemuVersion, image.key])}`);
  if (!existsSync(answer)) {
    log("trying whether KVM works here");
    const works = await kvmBoots(image.kernel, initrd);
    log(works ? "KVM works" : "KVM is there but does not run a guest: emulating (TCG)");
    writeFileSync(answer, works ? "kvm" : "tcg");
    for (const old of staleEntries(cacheRoot(), "kvm-", 4)) {
      rmSync(old, { force: true });
    }
  }
  return readFileSync(answer, "utf8") === "kvm" ? "kvm" : "tcg";
}

function kvmBoots(kernel: string, initrd: string): Promise<boolean> {
  const args = ["-accel", "kvm", "-cpu", "host", "-M", "q35", "-smp", "2", "-m", "256M", "-no-reboot"];
  args.push("-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-kernel", kernel);
  args.push("-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1 rdinit=/init vsockenc.probe");
  return new Promise((resolve) => {
    const child = spawn("setpriv", ["--pdeathsig", "KILL", "--", QEMU, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    const timer = setTimeout(() => child.kill("SIGKILL"), PROBE_TIMEOUT_MS);
    const look = (data: Buffer): void => {
      output = (output + data.toString("latin1")).slice(-64 * 1024);
      // After an internal error QEMU keeps the machine stopped for ever.
      if (/vsockenc-probe-ok|KVM internal error/.test(output)) {
        child.kill("SIGKILL");
      }
    };
    child.stdout.on("data", look);
    child.stderr.on("data", look);
    child.once("error", () => resolve(false));
    child.once("close", () => {
      clearTimeout(timer);
      resolve(output.includes("vsockenc-probe-ok"));
    });
  });
}
