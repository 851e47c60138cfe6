/**
 * The checks of `vsockenc doctor` on a Mac: encoders, each QEMU and the paths for pixels that it allows, UTM and its
 * sandbox, signatures. They change nothing. docs/macos.md has the steps that their fixes refer to.
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import {
  type Check,
  entries,
  failure,
  isAtLeast,
  ok,
  type ProgramResult,
  qemuVersion,
  reason,
  warning,
} from "./check.ts";

/** QEMU 9.1 is the first that has vhost-user and memory-backend-shm outside Linux. */
const VHOST_USER_SINCE = "9.1";
/** The first with low-latency rate control for H.264; HEVC's begins with 14. */
const MACOS_SINCE = "12.0";
const QEMU_FOLDERS = ["opt/homebrew/bin", "usr/local/bin", "opt/local/bin"];
const QEMU_PROGRAMS = ["qemu-system-aarch64", "qemu-system-x86_64"];
/** Needed by hvf: without it, the kernel answers HV_DENIED. */
const HYPERVISOR = "com.apple.security.hypervisor";
const HAS_HYPERVISOR = /<key>com\.apple\.security\.hypervisor<\/key>\s*<true\/>/;
/** The end of UTM's application group, behind the team that signed UTM. */
const UTM_GROUP = ".com.utmapp.UTM";
/** The socket folder of an unsigned UTM (UTM, Configuration/UTMQemuConfiguration+Arguments.swift, socketURL). */
const UTM_UNSIGNED = "Library/Containers/com.utmapp.QEMUHelper/Data/tmp";
const UTM_LAUNCHER = "Contents/XPCServices/QEMUHelper.xpc/Contents/MacOS/QEMULauncher.app";

/** One entry of VTCopyVideoEncoderList. */
const encoder = z.object({
  /** kVTVideoEncoderList_EncoderID, e.g. "com.apple.videotoolbox.videoencoder.ave.avc". */
  id: z.string(),
  /** kVTVideoEncoderList_DisplayName. */
  name: z.string(),
  codec: z.enum(["h264", "h265", "other"]),
  /** kVTVideoEncoderList_IsHardwareAccelerated. */
  hardware: z.boolean(),
});
export type VideoToolboxEncoder = z.infer<typeof encoder>;

/** media.node, if it was built with VideoToolbox. */
const videoToolbox = z.object({ videoToolboxEncoders: z.function() });

/** The Mac to check. */
export interface Mac {
  /** "/" except in tests. */
  readonly root: string;
  /** The user's home folder: an absolute path below `root`. */
  readonly home: string;
  readonly run: (program: string, args: readonly string[]) => ProgramResult;
  /** Loads media.node. @throws NativeAddonError */
  readonly loadMedia: () => unknown;
  /** Sockets of the configuration's VMs that QEMU creates or opens. */
  readonly sockets: readonly string[];
}

export function checkMac(mac: Mac): Check[] {
  const system = [checkSystem(mac), checkHypervisor(mac), checkVideoToolbox(mac)];
  return [...system, ...checkQemus(mac), ...checkUtm(mac)];
}

/** The output of a program; undefined if it failed. */
function output({ run }: Mac, program: string, args: readonly string[]): string | undefined {
  const result = run(program, args);
  return result.kind === "ended" && result.status === 0 ? result.output.trim() : undefined;
}

function checkSystem(mac: Mac): Check {
  const version = output(mac, "sw_vers", ["-productVersion"]);
  if (version !== undefined && isAtLeast(version, MACOS_SINCE)) return ok("macOS", version);
  const fix = `update to macOS ${MACOS_SINCE} or newer: encoders before it have no low-latency rate control`;
  return warning("macOS", version ?? "sw_vers reports no version", fix);
}

function checkHypervisor(mac: Mac): Check {
  const name = "acceleration";
  if (output(mac, "sysctl", ["-n", "kern.hv_support"]) === "1")
    return ok(name, "Hypervisor.framework (-accel hvf)");
  const detail = "no Hypervisor.framework (kern.hv_support is not 1); QEMU emulates, about ten times slower";
  return warning(name, detail, "run vsockenc and QEMU on the Mac itself, not in a VM on it");
}

function checkVideoToolbox(mac: Mac): Check {
  const name = "VideoToolbox";
  let encoders: VideoToolboxEncoder[];
  try {
    const media = videoToolbox.safeParse(mac.loadMedia());
    if (!media.success) {
      const fix = "build on this Mac with Xcode's command line tools: npm run build";
      return warning(name, "media.node was built without it; only libavcodec can encode", fix);
    }
    encoders = z.array(encoder).parse(media.data.videoToolboxEncoders());
  } catch (error) {
    return warning(name, reason(error), "npm run setup && npm run build");
  }
  const usable = encoders.filter(({ codec, hardware }) => hardware && codec !== "other");
  if (usable.length === 0) {
    const fix = "use a Mac with a media engine (not a VM); software encoders still work";
    return warning(name, `none of ${encoders.length} encoders is H.264 or HEVC in hardware`, fix);
  }
  return ok(name, usable.map(({ id, codec }) => `${codec}: ${id}`).join(", "));
}

function checkQemus(mac: Mac): Check[] {
  const found = QEMU_FOLDERS.flatMap((folder) =>
    QEMU_PROGRAMS.map((program) => join(mac.root, folder, program)),
  );
  const checks = found.filter((path) => existsSync(path)).flatMap((path) => checkQemu(mac, path));
  if (checks.length > 0) return checks;
  const fix = "brew install qemu, or use UTM; docs/macos.md has the command lines";
  return [warning("QEMU", `none in ${QEMU_FOLDERS.map((folder) => `/${folder}`).join(", ")}`, fix)];
}

function checkQemu(mac: Mac, path: string): Check[] {
  const name = path;
  const version = qemuVersion(output(mac, path, ["--version"]) ?? "");
  if (version === undefined) {
    return [failure(name, "reports no version", `run \`${path} --version\` to see why`)];
  }
  const devices = output(mac, path, ["-device", "help"]) ?? "";
  const objects = output(mac, path, ["-object", "help"]) ?? "";
  return [checkRoute(name, version, devices, objects), checkEntitlement(mac, `${path}: signature`, path)];
}

/** The paths for pixels that this QEMU allows its guests. */
function checkRoute(name: string, version: string, devices: string, objects: string): Check {
  if (!devices.includes('"virtserialport"')) {
    const fix = "install a QEMU with its usual devices: brew install qemu";
    return failure(name, `${version}, without virtserialport`, fix);
  }
  const missing = [
    ...(isAtLeast(version, VHOST_USER_SINCE) ? [] : [`QEMU ${VHOST_USER_SINCE}`]),
    ...(devices.includes('"vhost-user-gpu-pci"') ? [] : ["vhost-user-gpu-pci"]),
    ...(objects.includes("memory-backend-shm") ? [] : ["memory-backend-shm"]),
  ];
  if (missing.length === 0) return ok(name, `${version}, with vhost-user-gpu: guests can send resources`);
  const detail = `${version}, without ${missing.join(", ")}: guests send their pixels through the port`;
  const fix = `build QEMU ${VHOST_USER_SINCE} or newer with --enable-vhost-user (docs/macos.md, "A QEMU with vhost-user")`;
  return warning(name, detail, fix);
}

/** Signing again without --entitlements drops them all. */
function checkEntitlement(mac: Mac, name: string, path: string): Check {
  const entitlements = output(mac, "codesign", ["-d", "--entitlements", "-", "--xml", path]);
  if (entitlements === undefined) {
    return failure(name, "is not signed, or codesign does not run", signing(path));
  }
  if (HAS_HYPERVISOR.test(entitlements)) return ok(name, `has ${HYPERVISOR}`);
  return failure(name, `has no ${HYPERVISOR}: -accel hvf fails with HV_DENIED`, signing(path));
}

const signing = (path: string): string =>
  `codesign --force --sign - --entitlements hypervisor.entitlements "${path}" (docs/macos.md, "Signing", has the file)`;

function checkUtm(mac: Mac): Check[] {
  const places = [join(mac.root, "Applications", "UTM.app"), join(mac.home, "Applications", "UTM.app")];
  const app = places.find((path) => existsSync(path));
  if (app === undefined) return [];
  const information = join(app, "Contents", "Info.plist");
  const version = output(mac, "plutil", ["-extract", "CFBundleShortVersionString", "raw", information]);
  return [
    ok("UTM", `${version ?? "of an unknown version"}: guests send their pixels through the port`),
    checkSeal(mac, app),
    checkEntitlement(mac, "UTM: signature of QEMU's launcher", join(app, UTM_LAUNCHER)),
    checkSocketFolder(mac),
  ];
}

/** Replacing a framework, as for a QEMU of one's own, breaks the seal of the app. */
function checkSeal(mac: Mac, app: string): Check {
  const name = "UTM: seal";
  if (output(mac, "codesign", ["--verify", "--deep", "--strict", app]) !== undefined)
    return ok(name, "intact");
  const fix = `if you replaced QEMU in it: codesign --force --sign - that framework (docs/macos.md, "Signing"); otherwise reinstall UTM`;
  return failure(name, "UTM.app was changed after it was signed", fix);
}

/** QEMU runs in UTM's sandbox, and can only use sockets in the folder that it shares with UTM. */
function checkSocketFolder(mac: Mac): Check {
  const name = "UTM: sockets";
  const folder = socketFolder(mac.home);
  if (folder === undefined) {
    return warning(name, "UTM's socket folder does not exist yet", "start a VM in UTM once");
  }
  const outside = mac.sockets.filter((path) => !path.startsWith(`${folder}/`));
  if (outside.length === 0) return ok(name, folder);
  const fix = `for VMs of UTM, use sockets in ${folder} (VMs of another QEMU may have them anywhere)`;
  return warning(name, `UTM's sandbox blocks QEMU from ${outside.join(", ")}`, fix);
}

function socketFolder(home: string): string | undefined {
  const groups = join(home, "Library", "Group Containers");
  const group = entries(groups).find((name) => name.endsWith(UTM_GROUP));
  if (group !== undefined) return join(groups, group);
  const unsigned = join(home, UTM_UNSIGNED);
  return existsSync(unsigned) ? unsigned : undefined;
}
