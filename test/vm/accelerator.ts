/**
 * QEMU's version, and whether KVM works. Even where /dev/kvm exists and QEMU starts with it, a guest kernel's first
 * instructions may fail (nested or emulated virtualisation). So KVM is used only after it has booted the guest's kernel
 * up to its first process; the result is cached until the machine restarts.
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

/** A guest kernel that runs reaches its first process within two seconds. */
const PROBE_TIMEOUT_MS = 20_000;

/** @returns QEMU's version @throws RequirementError if it is missing or too old */
export function checkQemu(): string {
  const { stdout } = spawnSync(QEMU, ["--version"], { encoding: "utf8" });
  const version = parseQemuVersion(stdout ?? "");
  if (version !== undefined && isAtLeast(version, MINIMUM_QEMU)) return version;
  throw new RequirementError(
    `${QEMU}: ${version ?? "not installed"}; ${MINIMUM_QEMU} or newer is required (older ones reject vhost-user-gpu without ` +
      "KVM). Run: npm run setup -- --for vm",
  );
}

/** KVM where it works, or the value of VSOCKENC_ACCEL (kvm or tcg). */
export async function chooseAccelerator(
  image: GuestImage,
  initrd: string,
  qemuVersion: string,
  log: (line: string) => void,
): Promise<Accelerator> {
  const wanted = process.env["VSOCKENC_ACCEL"];
  if (wanted === "kvm" || wanted === "tcg") return wanted;
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
  } catch {
    return "tcg";
  }
  const machineBoot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8");
  const answer = join(cacheRoot(), `kvm-${contentKey([machineBoot, qemuVersion, image.key])}`);
  if (!existsSync(answer)) {
    log("checking whether KVM works");
    const works = await kvmBoots(image.kernel, initrd);
    log(works ? "KVM works" : "KVM exists but does not run a guest: using TCG");
    writeFileSync(answer, works ? "kvm" : "tcg");
    for (const old of staleEntries(cacheRoot(), "kvm-", 4)) rmSync(old, { force: true });
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
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("latin1").on("data", (text: string) => {
        output = (output + text).slice(-64 * 1024);
        // After an internal error QEMU keeps the machine stopped.
        if (/vsockenc-probe-ok|KVM internal error/.test(output)) child.kill("SIGKILL");
      });
    }
    child.once("error", () => resolve(false));
    child.once("close", () => {
      clearTimeout(timer);
      resolve(output.includes("vsockenc-probe-ok"));
    });
  });
}
