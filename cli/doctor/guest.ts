/** The checks of `vsockenc doctor` in a guest: everything that the element needs. */
import { existsSync, readFileSync, readlinkSync } from "node:fs";
import { basename, join } from "node:path";
import { z } from "zod";
import { type Check, entries, failure, mayAccess, ok, run, warning } from "./check.ts";

/** Name of the ports without their number. */
const PORT_PREFIX = "org.vsockenc.";

/** Whether this machine has a port of vsockenc, and so is a guest. */
export function looksLikeGuest(root: string): boolean {
  return ports(root).length > 0;
}

/**
 * @param root contains dev and sys; "/" except in tests
 * @param probe sends a buffer through the whole path
 */
export function checkGuest(root: string, probe: boolean): Check[] {
  return [checkRenderNode(root), checkPort(root), checkPlugin(), ...(probe ? [checkProbe()] : [])];
}

/** The devices of the ports, by the names that the kernel has: a container lacks udev's links. */
function ports(root: string): string[] {
  const kernel = join(root, "sys", "class", "virtio-ports");
  return entries(kernel).filter((device) => {
    try {
      return readFileSync(join(kernel, device, "name"), "utf8").startsWith(PORT_PREFIX);
    } catch {
      return false;
    }
  });
}

/** Found by driver, not by name: a VM may have several GPUs. */
function renderNodes(root: string): string[] {
  const drm = join(root, "sys", "class", "drm");
  return entries(drm).filter((name) => {
    if (!name.startsWith("renderD")) return false;
    const device = join(drm, name, "device");
    // Depending on the kernel, the DRM device is below the virtio device or below the PCI device.
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

function checkRenderNode(root: string): Check {
  const name = "virtio-gpu";
  const nodes = renderNodes(root);
  const [first] = nodes;
  if (first === undefined) {
    const fix =
      "start the VM with the GPU of `vsockenc qemu-args`, and load the driver in the guest: sudo modprobe virtio_gpu";
    const detail = "no render node of the driver virtio_gpu; pixels go through the port, which is slow";
    return warning(name, detail, fix);
  }
  const usable = nodes.find((node) => mayAccess(join(root, "dev", "dri", node)));
  if (usable !== undefined) return ok(name, `/dev/dri/${usable}`);
  const fix = "sudo usermod -aG render $USER, then log in again";
  return failure(name, `no permission for /dev/dri/${first}`, fix);
}

function checkPort(root: string): Check {
  const name = "port";
  const found = ports(root);
  const [first] = found;
  if (first === undefined) {
    const fix = "start the VM with the ports of `vsockenc qemu-args` (a virtserialport of that name)";
    return failure(name, `no port named ${PORT_PREFIX}0`, fix);
  }
  const usable = found.filter((device) => mayAccess(join(root, "dev", device)));
  if (usable.length > 0) return ok(name, usable.map((device) => `/dev/${device}`).join(", "));
  if (!existsSync(join(root, "dev", first))) {
    return failure(
      name,
      `/dev/${first} is not in this container`,
      `start the container with --device /dev/${first}`,
    );
  }
  const fix = "install packaging/udev/70-vsockenc.rules and sudo usermod -aG video $USER, then log in again";
  return failure(name, `no permission for /dev/${first}`, fix);
}

function checkPlugin(): Check {
  const name = "GStreamer plugin";
  const found = run("gst-inspect-1.0", ["--exists", "vsockenc"]);
  if (found.kind === "missing") {
    return failure(name, "gst-inspect-1.0 is not installed", "sudo apt-get install gstreamer1.0-tools");
  }
  if (found.kind === "failed") return failure(name, found.detail, "gst-inspect-1.0 vsockenc");
  if (found.status === 0) return ok(name, "vsockenc found");
  const fix = "copy libgstvsockenc.so to GStreamer's plugin folder, or add its folder to GST_PLUGIN_PATH";
  return failure(name, "GStreamer does not find the element vsockenc", fix);
}

/** The output of vsockenc-probe (guest/element/probe.c). */
const probeReport = z.object({
  ok: z.boolean(),
  device: z.string().nullable(),
  tier: z.string().nullable(),
  runs: z.number(),
  /** The same for a buffer that the GPU drew. */
  rendered: z.object({ tier: z.string().nullable(), skipped: z.string().nullable() }),
  host: z.string().nullable(),
  error: z.string().nullable(),
  fix: z.string().nullable(),
});

/**
 * vsockenc-probe draws into one buffer, attaches it, and compares the host's checksum with its own; where the GPU renders,
 * it does the same with a buffer that the GPU draws.
 */
function checkProbe(): Check {
  const name = "probe";
  const result = run("vsockenc-probe", []);
  if (result.kind === "missing") {
    const fix = "install it beside the plugin (npm run build:element)";
    return failure(name, "vsockenc-probe is not installed", fix);
  }
  const fix = "check the relay's log, and run `vsockenc doctor --config FILE` on the host";
  return result.kind === "failed" ? failure(name, result.detail, fix) : probeCheck(name, result.output, fix);
}

function probeCheck(name: string, output: string, fix: string): Check {
  let report: z.infer<typeof probeReport>;
  try {
    report = probeReport.parse(JSON.parse(output));
  } catch {
    const remedy = "install the same version of plugin and command";
    return failure(name, "cannot read the report of vsockenc-probe", remedy);
  }
  if (!report.ok) return failure(name, report.error ?? "the host reads different pixels", report.fix ?? fix);
  const { device, tier, runs, host, rendered } = report;
  const facts = `tier ${tier}, ${runs} runs, ${device ?? "no GPU"}; rendered: ${rendered.skipped ?? `tier ${rendered.tier}`}`;
  return ok(name, `${host ?? "the host"} reads the same pixels: ${facts}`);
}
