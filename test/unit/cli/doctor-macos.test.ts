import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Check, ProgramResult } from "../../../cli/doctor/check.ts";
import { checkMac, type VideoToolboxEncoder } from "../../../cli/doctor/macos.ts";
import { loadAddon } from "../../../common/load-addon.ts";

// What QEMU prints is what QEMU 10.0 prints on Linux; what macOS's own programs print is from their manuals.
const DEVICES = `Misc devices:
name "virtserialport", bus virtio-serial-bus
Display devices:
name "virtio-gpu-pci", bus PCI, alias "virtio-gpu"
`;
const VHOST_USER_DEVICE = 'name "vhost-user-gpu-pci", bus PCI\n';
const OBJECTS = "List of user creatable objects:\n  memory-backend-file\n  memory-backend-ram\n";
const SHM_OBJECT = "  memory-backend-shm\n";
const plist = (entitlements: string) =>
  `<?xml version="1.0" encoding="UTF-8"?><plist version="1.0"><dict>${entitlements}</dict></plist>`;
const SIGNED = plist("<key>com.apple.security.hypervisor</key><true/>");
const ENCODERS: readonly VideoToolboxEncoder[] = [
  { id: "com.apple.videotoolbox.videoencoder.ave.avc", name: "Apple H.264", codec: "h264", hardware: true },
  { id: "com.apple.videotoolbox.videoencoder.h264", name: "Apple H.264", codec: "h264", hardware: false },
  { id: "com.apple.videotoolbox.videoencoder.prores", name: "Apple ProRes", codec: "other", hardware: true },
];

let root: string;
let home: string;
let printed: Record<string, string>;
let media: unknown;
let sockets: string[];

const qemu = (): string => join(root, "opt", "homebrew", "bin", "qemu-system-aarch64");
const utm = (): string => join(root, "Applications", "UTM.app");
const launcher = (): string =>
  join(utm(), "Contents/XPCServices/QEMUHelper.xpc/Contents/MacOS/QEMULauncher.app");
const entitlements = (path: string): string => `codesign -d --entitlements - --xml ${path}`;

function install(path: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, "");
}

/** A Mac with everything: each test takes something away. */
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "vsockenc-mac-"));
  home = join(root, "Users", "ann");
  install(qemu());
  mkdirSync(utm(), { recursive: true });
  mkdirSync(join(home, "Library", "Group Containers", "WDF8V674AY.com.utmapp.UTM"), { recursive: true });
  media = { videoToolboxEncoders: () => ENCODERS };
  sockets = [];
  printed = {
    "sw_vers -productVersion": "15.1",
    "sysctl -n kern.hv_support": "1",
    [`${qemu()} --version`]: "QEMU emulator version 10.0.2\nCopyright (c) 2003-2025 …",
    [`${qemu()} -device help`]: DEVICES + VHOST_USER_DEVICE,
    [`${qemu()} -object help`]: OBJECTS + SHM_OBJECT,
    [entitlements(qemu())]: SIGNED,
    [`plutil -extract CFBundleShortVersionString raw ${join(utm(), "Contents", "Info.plist")}`]: "4.6.4",
    [`codesign --verify --deep --strict ${utm()}`]: "",
    [entitlements(launcher())]: SIGNED,
  };
});
afterEach(() => rmSync(root, { recursive: true }));

function checks(): readonly Check[] {
  const run = (program: string, args: readonly string[]): ProgramResult => {
    const output = printed[[program, ...args].join(" ")];
    return { kind: "ended", status: output === undefined ? 1 : 0, output: output ?? "", errors: "" };
  };
  return checkMac({ root, home, run, loadMedia: () => media, sockets });
}

function check(name: string): Check {
  const found = checks().find((each) => each.name === name);
  if (found === undefined) throw new Error(`no check ${name}`);
  return found;
}

function warns(name: string, detail: string): void {
  expect(check(name)).toMatchObject({ status: "warning", detail: expect.stringContaining(detail) });
}

it("finds nothing wrong with a Mac that has everything", () => {
  expect(checks().filter(({ status }) => status !== "ok")).toEqual([]);
  expect(check("VideoToolbox").detail).toBe("h264: com.apple.videotoolbox.videoencoder.ave.avc");
  expect(check(qemu()).detail).toContain("guests can send resources");
});

it("has a way out for everything that is wrong, also where nothing answers", () => {
  printed = {};
  media = undefined;
  const wrong = checks().filter(({ status }) => status !== "ok");
  expect(wrong.length).toBeGreaterThan(5);
  for (const { fix } of wrong) expect(fix).toBeTruthy();
});

describe("VideoToolbox", () => {
  it("is not claimed by an addon that was built without it, such as this machine's", () => {
    media = loadAddon("media");
    warns("VideoToolbox", "without it");
  });

  it("counts only hardware, and only H.264 and HEVC", () => {
    media = { videoToolboxEncoders: () => ENCODERS.slice(1) };
    warns("VideoToolbox", "none of 2");
  });

  it("does not trust what the addon says", () => {
    media = { videoToolboxEncoders: () => [{ id: 1 }] };
    expect(check("VideoToolbox").status).toBe("warning");
  });
});

describe("QEMU", () => {
  it.each([
    ["too old", () => (printed[`${qemu()} --version`] = "QEMU emulator version 9.0.4"), "QEMU 9.1"],
    ["as Homebrew builds it", () => (printed[`${qemu()} -device help`] = DEVICES), "vhost-user-gpu-pci"],
    ["without shared memory", () => (printed[`${qemu()} -object help`] = OBJECTS), "memory-backend-shm"],
  ])("%s still takes pixels through the port", (_title, change, missing) => {
    change();
    expect(check(qemu())).toMatchObject({
      status: "warning",
      detail: expect.stringMatching(new RegExp(`without ${missing}: .*through the port`)),
      fix: expect.stringContaining("--enable-vhost-user"),
    });
  });

  it("without ports is of no use", () => {
    printed[`${qemu()} -device help`] = VHOST_USER_DEVICE;
    expect(check(qemu()).status).toBe("failure");
  });

  it("that was signed again without its entitlement is denied the hypervisor", () => {
    printed[entitlements(qemu())] = plist(
      "<key>com.apple.security.hypervisor</key><false/><key>com.apple.security.cs.allow-jit</key><true/>",
    );
    expect(check(`${qemu()}: signature`)).toMatchObject({
      status: "failure",
      detail: expect.stringContaining("HV_DENIED"),
      fix: expect.stringContaining("--entitlements"),
    });
    delete printed[entitlements(qemu())];
    expect(check(`${qemu()}: signature`).status).toBe("failure");
  });

  it("is looked for where Homebrew and MacPorts put it", () => {
    rmSync(qemu());
    warns("QEMU", "/opt/homebrew/bin");
    install(join(root, "opt", "local", "bin", "qemu-system-x86_64"));
    expect(checks().some(({ name }) => name.endsWith("opt/local/bin/qemu-system-x86_64"))).toBe(true);
  });
});

describe("UTM", () => {
  it("is not asked for", () => {
    rmSync(utm(), { recursive: true });
    expect(checks().filter(({ name }) => name.startsWith("UTM"))).toEqual([]);
  });

  it("has its sockets in the folder that its sandbox shares, signed or not", () => {
    const group = join(home, "Library", "Group Containers", "WDF8V674AY.com.utmapp.UTM");
    expect(check("UTM: sockets")).toMatchObject({ status: "ok", detail: group });
    sockets = [join(group, "desk.sock"), "/tmp/desk.sock"];
    const outside = check("UTM: sockets");
    expect(outside).toMatchObject({ status: "warning", fix: expect.stringContaining(group) });
    expect(outside.detail).toMatch(/from \/tmp\/desk\.sock$/);
    rmSync(group, { recursive: true });
    expect(check("UTM: sockets")).toMatchObject({
      status: "warning",
      fix: expect.stringContaining("start a VM"),
    });
    const unsigned = join(home, "Library", "Containers", "com.utmapp.QEMUHelper", "Data", "tmp");
    sockets = [];
    mkdirSync(unsigned, { recursive: true });
    expect(check("UTM: sockets").detail).toContain(unsigned);
  });

  it("is known to be changed, and to be denied the hypervisor", () => {
    delete printed[`codesign --verify --deep --strict ${utm()}`];
    printed[entitlements(launcher())] = plist("");
    expect(check("UTM: seal")).toMatchObject({ status: "failure", fix: expect.stringContaining("codesign") });
    expect(check("UTM: signature of QEMU's launcher").status).toBe("failure");
  });
});
