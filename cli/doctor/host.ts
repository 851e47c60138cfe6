/**
 * The checks of `vsockenc doctor` on a host. They change nothing. They connect only to exporters, which accept several
 * clients; a chardev accepts one, so they only look at its socket file.
 */
import { constants, existsSync, lstatSync } from "node:fs";
import { homedir } from "node:os";
import { dirname } from "node:path";
import { parseAddress } from "../../common/address.ts";
import { loadAddon } from "../../common/load-addon.ts";
import { minimumNode, minimumQemu } from "../../common/package-root.ts";
import { whyUnlimited } from "../../host/cgroup.ts";
import type { Configuration, VmConfiguration } from "../../host/config.ts";
import { isGpuWaiting } from "../../host/relay/vm-state.ts";
import { virglLibrary } from "../virgl.ts";
import { type Check, failure, isAtLeast, mayAccess, ok, qemuVersion, reason, run, warning } from "./check.ts";
import { checkGl } from "./gl.ts";
import { checkMac, type Mac } from "./macos.ts";

/** @param configuration undefined: checks only the machine */
export async function checkHost(configuration: Configuration | undefined): Promise<Check[]> {
  const addons = await checkAddons();
  const working = addons.every(({ status }) => status === "ok");
  return [
    checkNode(process.versions.node),
    ...addons,
    ...(working
      ? [
          ...(await checkEncoders(configuration?.encoder)),
          ...(await checkSandboxes(configuration)),
          checkLimits(),
        ]
      : []),
    ...(process.platform === "darwin"
      ? checkMac(thisMac(configuration))
      : [...checkQemu(), ...checkRendering(configuration), checkKvm("/dev/kvm")]),
    ...(configuration === undefined ? [] : await checkConfiguration(configuration, working)),
  ];
}

/** Without a configuration, what the host could do; with one, only if a VM needs it. */
function checkRendering(configuration: Configuration | undefined): Check[] {
  const isUsed = configuration?.vm.some(({ gpu }) => gpu?.kind === "qemu-gl") ?? false;
  if (configuration !== undefined && !isUsed) return [];
  return checkGl({ root: "/", qemu: QEMU, library: virglLibrary(), run }, isUsed);
}

function thisMac(configuration: Configuration | undefined): Mac {
  const sockets = (configuration?.vm ?? []).flatMap(({ ports, gpu }) => [...ports, gpu?.socket ?? []].flat());
  return { root: "/", home: homedir(), run, loadMedia: () => loadAddon("media"), sockets };
}

/** @param version e.g. "20.19.0" */
export function checkNode(version: string): Check {
  if (isAtLeast(version, minimumNode)) return ok("Node.js", version);
  return failure("Node.js", `${version} is too old`, `install Node.js ${minimumNode} or newer`);
}

async function checkAddons(): Promise<Check[]> {
  const attempt = async (name: string, load: () => Promise<unknown>): Promise<Check> => {
    try {
      await load();
      return ok(name, "loads");
    } catch (error) {
      return failure(name, reason(error), "npm run setup && npm run build");
    }
  };
  return [
    await attempt("native addon os", () => import("../../host/native/os-addon.ts")),
    await attempt("native addon media", async () =>
      (await import("../../host/native/picture.ts")).pixelFormats(),
    ),
  ];
}

/** Probes the encoders as the relay does, and names the GPU that they are configured for. */
export async function checkEncoders(encoder: Configuration["encoder"] | undefined): Promise<Check[]> {
  const { createBackend } = await import("../../host/encoders/index.ts");
  const unavailable = new Map<string, { readonly why: string; readonly fix: string | undefined }>();
  const onUnavailable = (name: string, why: string, fix?: string) => void unavailable.set(name, { why, fix });
  const device = encoder?.device ?? {};
  const offers = await createBackend(encoder?.order, { device, onUnavailable }).offers();
  const names = offers.map(
    ({ name, codec, hardware }) => `${name} (${codec}${hardware ? ", hardware" : ""})`,
  );
  const faults = [...unavailable].flatMap(([name, { why, fix }]) =>
    fix === undefined ? [] : [warning(`encoder ${name}`, why, fix)],
  );
  const devices = Object.entries(device).map(([kind, value]): Check => {
    const [name, ofKind] = [
      `encoder.device.${kind}`,
      (encoderName: string) => encoderName.endsWith(`_${kind}`),
    ];
    const users = offers.flatMap((offer) => (ofKind(offer.name) ? [offer.name] : []));
    if (users.length > 0) return ok(name, `${value}: ${users.join(", ")}`);
    const reasons = [...unavailable].flatMap(([encoderName, { why }]) => (ofKind(encoderName) ? [why] : []));
    const why = reasons.join("; ") || "encoder.order has no encoder for it";
    return warning(name, `${value}: ${why}`, `correct ${name} (see docs/configuration.md), or remove it`);
  });
  const fix = "change encoder.order; libx264 always works";
  const works = offers.length > 0 ? ok("encoders", names.join(", ")) : failure("encoders", "none works", fix);
  return [works, ...faults, ...devices];
}

/** @param configuration default: the default encoders, workers, and a GPU process */
async function checkSandboxes(configuration: Configuration | undefined): Promise<Check[]> {
  const { whyUnconfined, whyUnfiltered } = await import("../../host/native/sandbox.ts");
  const { workerRules } = await import("../../host/workers/sandbox.ts");
  const { DEFAULT_ENCODERS } = await import("../../host/encoders/index.ts");
  const unfiltered = whyUnfiltered();
  const check = (name: string, why: string | undefined): Check => {
    const fix = "use Linux 5.13 or newer with Landlock (lsm=landlock,…) and seccomp";
    if (why !== undefined) return warning(name, `not confined: ${why}`, fix);
    if (unfiltered !== undefined) return warning(name, `system calls are not filtered: ${unfiltered}`, fix);
    return ok(name, "confined by Landlock and seccomp");
  };
  const order = configuration?.encoder.order ?? DEFAULT_ENCODERS;
  const workers =
    configuration?.isolation === "none"
      ? warning(
          "workers",
          "all VMs are encoded in one process",
          'remove isolation = "none" from the configuration',
        )
      : check("workers", whyUnconfined(workerRules(order)));
  const hasGpus = configuration?.vm.some(({ gpu }) => gpu?.socket !== undefined) ?? true;
  return [workers, ...(hasGpus ? [check("GPU processes", whyUnconfined({}))] : [])];
}

/** Whether the processes of VMs can have limits; whether a cgroup is delegated is known to the relay alone. */
function checkLimits(): Check {
  const why = whyUnlimited();
  const name = "limits of memory and processors";
  if (why === undefined) return ok(name, "available where a cgroup is delegated");
  const fix = "use Linux with cgroup v2 alone (systemd.unified_cgroup_hierarchy=1), and the systemd units";
  return warning(name, `none: ${why}`, fix);
}

const QEMU = process.arch === "arm64" ? "qemu-system-aarch64" : "qemu-system-x86_64";

function checkQemu(): Check[] {
  const version = run(QEMU, ["--version"]);
  const install = `install QEMU ${minimumQemu} or newer`;
  if (version.kind !== "ended") {
    const cause = version.kind === "missing" ? "not found" : version.detail;
    return [warning("QEMU", `${QEMU}: ${cause}`, `${install}, if VMs run on this machine`)];
  }
  const found = qemuVersion(version.output) ?? "unknown version";
  const device = run(QEMU, ["-device", "help"]);
  const hasGpu = device.kind === "ended" && device.output.includes("vhost-user-gpu-pci");
  const modules =
    "install the package with QEMU's display modules (Debian: qemu-system-gui or qemu-system-modules-opengl), or configure QEMU with --enable-vhost-user";
  return [
    isAtLeast(found, minimumQemu) ? ok("QEMU", found) : failure("QEMU", `${found} is too old`, install),
    hasGpu
      ? ok("QEMU's vhost-user-gpu", "available")
      : failure("QEMU's vhost-user-gpu", `${QEMU} has no vhost-user-gpu-pci`, modules),
  ];
}

/** @param path of the device */
export function checkKvm(path: string): Check {
  if (!existsSync(path)) {
    const fix = "enable virtualisation in the firmware, or nested virtualisation on the outer host";
    return warning("KVM", `${path} is missing; QEMU emulates, about ten times slower`, fix);
  }
  if (mayAccess(path)) return ok("KVM", path);
  return warning("KVM", `no permission for ${path}`, "sudo usermod -aG kvm $USER, then log in again");
}

/** The sockets of a configuration: do they exist, may we use them, does the exporter answer? */
export async function checkConfiguration(configuration: Configuration, addons: boolean): Promise<Check[]> {
  const checks: Check[] = [];
  for (const vm of configuration.vm) {
    for (const [index, path] of vm.ports.entries()) checks.push(checkPort(vm, path, index));
    const socket = vm.gpu?.socket;
    if (socket !== undefined) checks.push(checkFolder(`${vm.name}: GPU socket`, socket));
    if (vm.export !== undefined && addons) checks.push(await checkExporter(vm, vm.export));
  }
  for (const { address } of configuration.listen) {
    const parsed = parseAddress(address);
    if (parsed?.kind === "unix") checks.push(checkFolder(`listener ${address}`, parsed.path));
    if (parsed?.kind === "vsock") checks.push(checkVsock(address));
  }
  const { viewer, status } = configuration;
  // Behind TLS, whose certificate may be for other names, the answer cannot be read.
  if (viewer.enabled && viewer.port > 0 && viewer.certificate === undefined) {
    checks.push(await checkTcpPort("viewer's port", viewer.port, "viewer.port", "/", /<title>vsockenc/));
  }
  if (status.enabled) {
    checks.push(await checkTcpPort("status port", status.port, "status.port", "/health", /^{"ok"/));
  }
  return checks;
}

const ANSWER_MS = 2000;
const MAX_ANSWER_BYTES = 1 << 16;

/**
 * Whether a port of the configuration is free, or the relay's.
 *
 * @param path where the relay answers
 * @param own what its answer looks like
 */
async function checkTcpPort(
  name: string,
  port: number,
  field: string,
  path: string,
  own: RegExp,
): Promise<Check> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    const text = (await response.text()).slice(0, MAX_ANSWER_BYTES);
    if (own.test(text)) return ok(name, `${port}, where the relay answers`);
  } catch (error) {
    if (isSystemCause(error, "ECONNREFUSED")) return ok(name, `${port} is free`);
  }
  const fix = `end the other program, or choose another ${field}; the relay serves without until then`;
  return warning(name, `another program listens at port ${port}`, fix);
}

function isSystemCause(error: unknown, code: string): boolean {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error && "code" in cause && cause.code === code;
}

function checkPort(vm: VmConfiguration, path: string, index: number): Check {
  const name = `${vm.name}: port ${index}`;
  if (vm.chardev === "client") return checkFolder(name, path);
  const start = `start the VM with: vsockenc qemu-args --config FILE --vm ${vm.name}`;
  if (!existsSync(path)) return warning(name, `${path} is missing: QEMU is not running`, start);
  if (!lstatSync(path).isSocket())
    return failure(name, `${path} is not a socket`, `remove it, then ${start}`);
  if (mayAccess(path)) return ok(name, path);
  return failure(name, `no permission for ${path}`, "run the relay as the user that runs QEMU, or as root");
}

/** Of a socket that vsockenc creates. */
function checkFolder(name: string, path: string): Check {
  const folder = dirname(path);
  if (!existsSync(folder)) {
    return failure(name, `the folder ${folder} does not exist`, `sudo install -d -m 0750 -o $USER ${folder}`);
  }
  if (mayAccess(folder, constants.W_OK | constants.X_OK)) return ok(name, path);
  return failure(name, `user ${process.getuid?.()} cannot write to ${folder}`, `sudo chown $USER ${folder}`);
}

async function checkExporter(vm: VmConfiguration, path: string): Promise<Check> {
  const name = `${vm.name}: exporter`;
  const { ExportClient } = await import("../../host/export/client.ts");
  try {
    (await ExportClient.connect(path)).close();
    const waits = isGpuWaiting(vm);
    const runs = vm.chardev === "server" && vm.ports.some((port) => existsSync(port));
    if (waits && runs) {
      const fix =
        "restart the VM, if it runs: QEMU cannot connect to a GPU process that was started after it";
      return warning(name, `answers at ${path}, and waits for a VM`, fix);
    }
    return ok(name, `answers at ${path}${waits ? ", ready for the VM's start" : ""}`);
  } catch (error) {
    const fix =
      vm.gpu?.kind === "qemu-gl"
        ? `start QEMU with env $(vsockenc qemu-args --config FILE --vm ${vm.name} --environment); the socket appears when the guest's GPU driver starts. After an update of vsockenc, restart the VM. If QEMU has another user, list ours in gpu.users`
        : "start `vsockenc host --config FILE` before the VM; a running VM cannot connect to a new GPU process";
    return warning(name, reason(error), fix);
  }
}

function checkVsock(address: string): Check {
  if (mayAccess("/dev/vsock", constants.F_OK)) return ok(`listener ${address}`, "vsock available");
  return failure(`listener ${address}`, "vsock is not available", "sudo modprobe vhost_vsock");
}
