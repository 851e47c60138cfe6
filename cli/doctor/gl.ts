/**
 * The checks of `vsockenc doctor` on a host whose guests render: QEMU's virtio-gpu-gl, virglrenderer, a display with GL, and
 * the exporter's library. They change nothing. docs/rendered-guests.md has the set-up.
 */
import { existsSync } from "node:fs";
import { GL_DISPLAYS } from "../../host/hypervisor.ts";
import { BUILD_VIRGL_LIBRARY, renderNodes } from "../virgl.ts";
import { type Check, failure, isAtLeast, mayAccess, ok, type run, warning } from "./check.ts";

/** Oldest virglrenderer that the exporter knows (host/export/virgl). */
const MINIMUM_VIRGLRENDERER = "0.10";
/** The first with Venus. */
const VENUS_SINCE = "1.0";

/** The host to check. */
export interface GlHost {
  /** "/" except in tests. */
  readonly root: string;
  readonly qemu: string;
  /** Path of libvsockenc-virgl.so. */
  readonly library: string;
  readonly run: typeof run;
}

/** @param isUsed whether a VM of the configuration needs all of it; otherwise a lack is only a warning */
export function checkGl(host: GlHost, isUsed: boolean): Check[] {
  const checks = [checkDevice(host), checkVirglrenderer(host), checkDisplay(host), checkLibrary(host)];
  if (isUsed) return checks;
  return checks.map((check) => (check.status === "failure" ? { ...check, status: "warning" } : check));
}

/** What a program prints; undefined if it is missing or fails. */
function output(host: GlHost, program: string, ...args: string[]): string | undefined {
  const result = host.run(program, args);
  return result.kind === "ended" && result.status === 0 ? result.output : undefined;
}

function checkDevice(host: GlHost): Check {
  const name = "QEMU's virtio-gpu-gl";
  if (output(host, host.qemu, "-device", "help")?.includes('"virtio-gpu-gl-pci"')) {
    return ok(name, "available");
  }
  const fix =
    "install the package with QEMU's GL modules (Debian: qemu-system-modules-opengl), or configure QEMU with --enable-opengl --enable-virglrenderer";
  return failure(name, `${host.qemu} has no virtio-gpu-gl-pci`, fix);
}

/** From the package, because the library has no call that returns its version. */
function checkVirglrenderer(host: GlHost): Check {
  const name = "virglrenderer";
  const text =
    output(host, "dpkg-query", "-W", "libvirglrenderer1") ??
    output(host, "rpm", "-q", "--qf", "%{VERSION}", "virglrenderer") ??
    output(host, "pkg-config", "--modversion", "virglrenderer");
  const version = /\d+(\.\d+)+/.exec(text ?? "")?.[0];
  if (version === undefined) {
    const fix = "install it (Debian: libvirglrenderer1), or ignore this if QEMU brings its own";
    return warning(name, "found by neither dpkg, rpm nor pkg-config", fix);
  }
  if (!isAtLeast(version, MINIMUM_VIRGLRENDERER)) {
    return failure(
      name,
      `${version} is too old`,
      `install virglrenderer ${MINIMUM_VIRGLRENDERER}.4 or newer`,
    );
  }
  return ok(
    name,
    isAtLeast(version, VENUS_SINCE) ? version : `${version} (OpenGL; Venus needs ${VENUS_SINCE})`,
  );
}

function checkDisplay(host: GlHost): Check {
  const name = "display with GL";
  const listed = (output(host, host.qemu, "-display", "help") ?? "").split("\n");
  const displays = GL_DISPLAYS.filter((display) => listed.includes(display));
  const none = "-display none does not work with virtio-gpu-gl";
  if (displays.length === 0) {
    const fix =
      "install the packages with QEMU's displays (Debian: qemu-system-modules-opengl for egl-headless, qemu-system-gui for sdl and gtk)";
    return failure(name, `QEMU has none of ${GL_DISPLAYS.join(", ")}, and ${none}`, fix);
  }
  const windows = displays.filter((display) => display !== "egl-headless");
  const window =
    windows.length > 0
      ? `use -display ${windows.join(",gl=on or ")},gl=on in a window system or Xvfb, where the guest may render in software`
      : "install QEMU's sdl or gtk display (Debian: qemu-system-gui)";
  const nodes = renderNodes(host.root);
  if (nodes.length === 0) {
    const detail = `no render node (/dev/dri/renderD*), so egl-headless does not start, and ${none}`;
    return warning(name, detail, `load the GPU's driver; without a GPU, ${window}`);
  }
  if (!displays.includes("egl-headless")) {
    const fix = `install it (Debian: qemu-system-modules-opengl), or ${window}`;
    return warning(name, `QEMU has no egl-headless, and ${none}`, fix);
  }
  const node = nodes.find((path) => mayAccess(path));
  if (node !== undefined) return ok(name, `egl-headless on ${node}`);
  return warning(
    name,
    `no permission for ${nodes.join(", ")}`,
    "sudo usermod -aG render $USER, then log in again; or run QEMU as another user",
  );
}

function checkLibrary(host: GlHost): Check {
  const name = "libvsockenc-virgl";
  if (!existsSync(host.library)) return failure(name, `${host.library} is missing`, BUILD_VIRGL_LIBRARY);
  // The dynamic linker ignores what it cannot preload, and says so.
  const result = host.run("true", [], { LD_PRELOAD: host.library });
  const problem = result.kind === "ended" ? result.errors.trim().split("\n")[0] : "cannot start `true`";
  if (problem === "") return ok(name, `${host.library} loads`);
  return failure(name, problem ?? "", `rebuild it for this machine: ${BUILD_VIRGL_LIBRARY}`);
}
