/** The guest's side of `vsockenc doctor`: what the element will need. */
import { accessSync, constants, readdirSync, readlinkSync } from "node:fs";
import { basename, join } from "node:path";
import { z } from "zod";
import { type Check, failure, ok, run, warning } from "./check.ts";

/** Name of the ports, without their number. */
const PORT_PREFIX = "org.vsockenc.";

export interface GuestOptions {
  /** Where dev and sys are; "/" but in tests. */
  readonly root: string;
  /** Whether to send a buffer through the whole path. */
  readonly probe: boolean;
}

/** Whether this machine looks like a guest: it has a port of ours. */
export function looksLikeGuest(root: string): boolean {
  return ports(root).length > 0;
}

export function checkGuest({ root, probe }: GuestOptions): Check[] {
  return [checkRenderNode(root), checkPort(root), checkPlugin(), ...(probe ? [checkProbe()] : [])];
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

const ports = (root: string): string[] =>
  entries(join(root, "dev", "virtio-ports")).filter((name) => name.startsWith(PORT_PREFIX));

/** By driver, not by name: card0 may be another device, and a VM may have several GPUs. */
function renderNodes(root: string): string[] {
  const drm = join(root, "sys", "class", "drm");
  return entries(drm).filter((name) => {
    if (!name.startsWith("renderD")) return false;
    const device = join(drm, name, "device");
    // With some kernels the DRM device hangs below the virtio device, with others below the PCI device.
    const drivers = [device, ...entries(device).map((below) => join(device, below))];
    return drivers.some((folder) => driverOf(folder) === "virtio_gpu");
  });
}

function driverOf(device: string): string | undefined {
  try {
    return basename(readlinkSync(join(device, "driver")));
  } catch {
    return undefined;
  }
}

function mayUse(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function checkRenderNode(root: string): Check {
  const name = "virtio-gpu";
  const nodes = renderNodes(root);
  const [first] = nodes;
  if (first === undefined) {
    return warning(
      name,
      "no render node of the driver virtio_gpu; pixels will go through the port, which is slow",
      "start the VM with the GPU of `vsockenc qemu-args`, and see that the guest's kernel has virtio_gpu: sudo modprobe virtio_gpu",
    );
  }
  const usable = nodes.find((node) => mayUse(join(root, "dev", "dri", node)));
  if (usable !== undefined) return ok(name, `/dev/dri/${usable}`);
  return failure(
    name,
    `no permission for /dev/dri/${first}`,
    "sudo usermod -aG render $USER, then log in again",
  );
}

function checkPort(root: string): Check {
  const name = "port";
  const found = ports(root);
  const [first] = found;
  if (first === undefined) {
    return failure(
      name,
      `no /dev/virtio-ports/${PORT_PREFIX}0`,
      "start the VM with the ports of `vsockenc qemu-args` (a virtserialport of that name)",
    );
  }
  const usable = found.filter((port) => mayUse(join(root, "dev", "virtio-ports", port)));
  if (usable.length > 0) return ok(name, usable.map((port) => `/dev/virtio-ports/${port}`).join(", "));
  return failure(
    name,
    `no permission for /dev/virtio-ports/${first}`,
    "install packaging/udev/70-vsockenc.rules and sudo usermod -aG video $USER, then log in again",
  );
}

function checkPlugin(): Check {
  const name = "GStreamer plugin";
  const found = run("gst-inspect-1.0", ["--exists", "vsockenc"]);
  switch (found.kind) {
    case "missing":
      return failure(name, "gst-inspect-1.0 is not installed", "sudo apt-get install gstreamer1.0-tools");
    case "failed":
      return failure(name, found.detail, "gst-inspect-1.0 vsockenc");
    case "ended":
      return found.status === 0
        ? ok(name, "vsockenc is found")
        : failure(
            name,
            "GStreamer does not find the element vsockenc",
            "copy libgstvsockenc.so to GStreamer's plugin folder, or name its folder in GST_PLUGIN_PATH",
          );
  }
}

/** What vsockenc-probe prints (guest/element/probe.c). */
const probeReport = z.object({
  ok: z.boolean(),
  device: z.string().nullable(),
  tier: z.string().nullable(),
  runs: z.number(),
  host: z.string().nullable(),
  error: z.string().nullable(),
  fix: z.string().nullable(),
});

/** Draws into one buffer, attaches it, and compares the host's checksum. The program is the element's sibling. */
function checkProbe(): Check {
  const name = "probe";
  const result = run("vsockenc-probe", []);
  const fix = "look at the host's log, and run `vsockenc doctor --config FILE` there";
  switch (result.kind) {
    case "missing":
      return failure(
        name,
        "vsockenc-probe is not installed",
        "install it beside the plugin (npm run build:element)",
      );
    case "failed":
      return failure(name, result.detail, fix);
    case "ended":
      return probeCheck(name, result.output, fix);
  }
}

function probeCheck(name: string, output: string, fix: string): Check {
  let report: z.infer<typeof probeReport>;
  try {
    report = probeReport.parse(JSON.parse(output));
  } catch {
    return failure(
      name,
      "vsockenc-probe's report cannot be read",
      "install plugin and command of one version",
    );
  }
  if (!report.ok) return failure(name, report.error ?? "the host reads other pixels", report.fix ?? fix);
  const { device, tier, runs, host } = report;
  return ok(
    name,
    `${host ?? "the host"} reads what was drawn: tier ${tier}, ${runs} runs, ${device ?? "no GPU"}`,
  );
}
