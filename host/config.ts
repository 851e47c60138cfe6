/**
 * The configuration of `vsockenc relay` and `vsockenc host`: TOML, checked by one schema. Files of the folder beside it add
 * VMs and listeners.
 *
 * Every field is described here and nowhere else. Unknown fields are errors, so that a misspelt one is not ignored.
 */
import { readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { type Address, isLoopback, parseAddress } from "../common/address.ts";
import { ConfigurationError } from "../common/configuration-error.ts";
import { errorText } from "../common/error-text.ts";
import { LOG_LEVELS } from "../common/log.ts";
import { statusOptions } from "../common/status-server.ts";
import {
  type ConfigurationField,
  describeFields,
  parseToml,
  readSource,
  type TomlSource,
} from "../common/toml-file.ts";
import { LIMITS } from "../proto/limits.ts";
import { viewerOptions } from "../viewer/server/options.ts";
import { DEFAULT_ENCODERS, ENCODER_NAMES, MAX_NVIDIA_GPUS } from "./encoders/index.ts";
import { DISPLAY_MODE_RULE, parseDisplayMode } from "./gpu/display-mode.ts";

export { ConfigurationError } from "../common/configuration-error.ts";

/** sun_path of a UNIX socket holds 107 bytes and a NUL on Linux, 103 on macOS; the smaller limit works on both. */
const MAX_SOCKET_PATH_BYTES = 103;

const socketPath = z
  .string()
  .min(1, "must name a UNIX socket")
  .refine((path) => Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES, {
    message: `exceeds ${MAX_SOCKET_PATH_BYTES} bytes, the limit for a UNIX socket's path; use a shorter folder`,
  });

/** DRM gives render nodes the minor numbers 128 to 191; udev's names by path stay the same when a card is added. */
const RENDER_NODE = /^\/dev\/dri\/(renderD(12[89]|1[3-8]\d|19[01])|by-path\/[\w.:-]+-render)$/;

const users = z.array(z.int().min(0).max(0xffff_fffe)).max(16).default([]);

/** What the guest's GPU is, and with it the VM's exporter. */
export const GPU_KINDS = ["vhost-user", "qemu-gl"] as const;
export type GpuKind = (typeof GPU_KINDS)[number];

const gpu = z.strictObject({
  kind: z
    .enum(GPU_KINDS)
    .default("vhost-user")
    .describe(
      '"vhost-user": `vsockenc gpu`, a GPU without 3D in a process of its own. "qemu-gl": QEMU\'s virtio-gpu-gl, for guests that render with OpenGL or Vulkan; the exporter is a library in QEMU (docs/rendered-guests.md), and no process is started.',
    ),
  socket: socketPath
    .optional()
    .describe(
      "UNIX socket where the VM's GPU process listens for QEMU's vhost-user chardev; required by kind \"vhost-user\".",
    ),
  users: users.describe(
    "User ids that may connect to the `export` socket and so read the VM's memory, besides the exporter's own and root. With any, the socket's mode is 0666 instead of 0600, and the user ids alone decide.",
  ),
  heads: z.int().min(1).max(LIMITS.MAX_HEADS).default(1).describe("Heads (connectors) that the guest sees."),
  mode: z
    .string()
    .refine((text) => parseDisplayMode(text) !== undefined, DISPLAY_MODE_RULE)
    .default("1280x800")
    .describe(`Preferred mode of every head; ${DISPLAY_MODE_RULE}.`),
  venus: z
    .boolean()
    .default(false)
    .describe(
      'kind "qemu-gl": Vulkan in the guest, by Venus; needs virglrenderer 1.0 or newer and a QEMU built with it.',
    ),
});

/** The GPU of a VM without a `gpu` table, where the command line asks for one. */
export const GPU_DEFAULTS = gpu.parse({});

const kbps = z.int().min(1).max(LIMITS.MAX_BITRATE_KBPS);

const view = z.strictObject({
  heads: z
    .boolean()
    .default(false)
    .describe(
      "Whether the viewer shows the VM's own screens, from power-on and without software in the guest. Each head is encoded only while a viewer watches it. Needs `export` and `viewer.enabled`.",
    ),
  rate: z.int().min(1).max(60).default(30).describe("Maximum pictures of a head per second."),
  min_kbps: kbps
    .default(500)
    .describe("Minimum bit rate of a head, for viewers with slow connections, in kbit/s."),
  max_kbps: kbps
    .default(8000)
    .describe("Maximum bit rate of a head, used where the viewers' connections carry it, in kbit/s."),
});

/** What a listener speaks. */
export const LISTEN_PROTOCOLS = ["vsockenc", "hxfr"] as const;
export type ListenProtocol = (typeof LISTEN_PROTOCOLS)[number];

const listen = z.strictObject({
  address: z.string().describe("Where the relay listens: `unix:PATH`, `tcp:HOST:PORT` or `vsock:PORT`."),
  vm: z
    .string()
    .optional()
    .describe(
      "VM whose resources the clients may name. Without it, clients send pixels through the connection.",
    ),
  protocol: z
    .enum(LISTEN_PROTOCOLS)
    .default("vsockenc")
    .describe(
      '"hxfr": the protocol of Helix\'s own element vsockenc, for guests that have it (proto/HXFR.md).',
    ),
  users: users.describe(
    "unix: user ids that may connect, besides the relay's own and root. With any, the socket's mode is 0666 instead of 0600, and the user ids alone decide.",
  ),
  cid: z
    .int()
    .min(1)
    .max(0xffff_fffe)
    .optional()
    .describe("vsock: the only context id that may connect; required with `vm`."),
  remote: z
    .boolean()
    .default(false)
    .describe("tcp: allows an address that other machines can reach. No encryption, no authentication."),
  max_clients: z.int().min(1).max(256).default(16).describe("Maximum simultaneous connections."),
});

/** It names files, too (`vsockenc vm add`). */
export const vmName = z
  .string()
  .regex(/^[\w.-]{1,63}$/, "must be 1 to 63 letters, digits, dots, dashes or underscores");

const vm = z.strictObject({
  name: vmName.describe("Name of the VM, in logs and on command lines."),
  ports: z
    .array(socketPath)
    .max(4)
    .default([])
    .describe("UNIX sockets of the chardevs for the ports org.vsockenc.0, .1, …, in that order."),
  chardev: z
    .enum(["server", "client"])
    .default("server")
    .describe(
      'QEMU\'s side of these sockets: "server" (QEMU listens, the relay connects) or "client" (the relay listens, QEMU connects and reconnects).',
    ),
  users: users.describe(
    "User ids that may connect to the ports of chardev = \"client\", besides the relay's own and root. With any, the sockets' mode is 0666 instead of 0600, and the user ids alone decide.",
  ),
  export: socketPath
    .optional()
    .describe(
      "Socket of the VM's exporter: its GPU process, or the library in its QEMU. Without it, the guest sends pixels through the port.",
    ),
  gpu: gpu
    .optional()
    .describe(
      "The VM's GPU, for `vsockenc host`, `qemu-args` and `libvirt-xml`; `vsockenc relay` ignores it.",
    ),
  view: view.prefault({}).describe("What the viewer shows of the VM, besides the streams of its ports."),
});

/** Rules that concern several fields. */
function checkConsistency(configuration: Draft, context: z.core.$RefinementCtx): void {
  const issue = (path: (string | number)[], message: string): void => {
    context.addIssue({ code: "custom", path, message });
  };
  const seen = new Set<string>();
  const once = (value: string, what: string, path: (string | number)[]): void => {
    if (seen.has(value)) issue(path, `${what} ${value} is used twice`);
    seen.add(value);
  };
  const { vm: vms, listen: listeners } = configuration;
  for (const [index, each] of vms.entries()) {
    const { name, ports, gpu, view, export: exporter } = each;
    once(name, "the name", ["vm", index, "name"]);
    for (const [port, path] of ports.entries()) once(path, "the socket", ["vm", index, "ports", port]);
    if (exporter !== undefined) once(exporter, "the socket", ["vm", index, "export"]);
    if (view.heads && exporter === undefined) issue(["vm", index, "export"], "is required by view.heads");
    if (view.min_kbps > view.max_kbps) {
      issue(["vm", index, "view", "min_kbps"], `must not exceed max_kbps (${view.max_kbps})`);
    }
    if (gpu?.socket !== undefined) once(gpu.socket, "the socket", ["vm", index, "gpu", "socket"]);
    checkGpu(each, (path, message) => issue(["vm", index, ...path], message));
    if (ports.length === 0 && !listeners.some(({ vm: of }) => of === name)) {
      issue(["vm", index, "ports"], "is empty, and no [[listen]] names this VM, so it is unreachable");
    }
  }
  for (const [index, listener] of listeners.entries()) {
    const at = (field: string): (string | number)[] => ["listen", index, field];
    const address = parseAddress(listener.address);
    if (address === undefined) {
      issue(at("address"), "must be unix:PATH, tcp:HOST:PORT or vsock:PORT, e.g. tcp:127.0.0.1:15937");
      continue;
    }
    once(address.kind === "unix" ? address.path : listener.address, "the address", at("address"));
    if (listener.vm !== undefined && !vms.some(({ name }) => name === listener.vm)) {
      issue(at("vm"), `no [[vm]] is named ${listener.vm}`);
    }
    checkListener(listener, address, (field, message) => issue(at(field), message));
  }
}

/** Rules that depend on the kind of the GPU. */
function checkGpu(
  { gpu, export: exporter, view }: VmDraft,
  issue: (path: string[], message: string) => void,
): void {
  if (gpu?.kind === "vhost-user") {
    if (gpu.socket === undefined) issue(["gpu", "socket"], 'is required by kind "vhost-user" (the default)');
    if (gpu.venus) issue(["gpu", "venus"], 'applies to kind "qemu-gl" only');
  } else if (gpu?.kind === "qemu-gl") {
    if (gpu.socket !== undefined) issue(["gpu", "socket"], 'applies to kind "vhost-user" only; remove it');
    if (exporter === undefined) issue(["export"], 'is required by gpu.kind "qemu-gl"');
    if (view.heads) {
      issue(["view", "heads"], 'is not available with gpu.kind "qemu-gl"; capture the screen in the guest');
    }
  }
}

/** Rules that depend on the kind of the address. */
function checkListener(
  { users: named, cid, remote, vm: bound }: z.infer<typeof listen>,
  address: Address,
  issue: (field: string, message: string) => void,
): void {
  const { kind } = address;
  if (kind === "unix" && !socketPath.safeParse(address.path).success) {
    issue("address", `exceeds ${MAX_SOCKET_PATH_BYTES} bytes of path; use a shorter folder`);
  }
  if (kind !== "unix" && named.length > 0) issue("users", "applies to unix: addresses only");
  if (kind !== "vsock" && cid !== undefined) issue("cid", "applies to vsock: addresses only");
  if (kind !== "tcp" && remote) issue("remote", "applies to tcp: addresses only");
  if (kind === "vsock" && bound !== undefined && cid === undefined) {
    issue("cid", "is required with `vm`: otherwise every other VM could name this VM's resources");
  }
  if (kind === "tcp" && !remote && !isLoopback(address.host)) {
    issue("remote", `must be true for ${address.host}, which other machines can reach; or use 127.0.0.1`);
  }
}

/** Whose encoding has a process of its own. */
const ISOLATIONS = ["vm", "none"] as const;

const fields = z.strictObject({
  log: z
    .strictObject({
      level: z.enum(LOG_LEVELS).default("info").describe("Least severe level that is logged."),
    })
    .prefault({}),
  encoder: z
    .strictObject({
      order: z
        .array(z.enum(ENCODER_NAMES))
        .min(1)
        .default([...DEFAULT_ENCODERS])
        .describe(
          'Encoders to try, best first. Those that do not work on this machine are skipped, as videotoolbox is on Linux. A stream whose encoder fails continues with the next (docs/deployment.md). "null" encodes nothing, for measurements of everything else.',
        ),
      device: z
        .strictObject({
          vaapi: z
            .string()
            .regex(
              RENDER_NODE,
              "must be a render node, /dev/dri/renderD128 to /dev/dri/renderD191 or /dev/dri/by-path/…-render",
            )
            .optional()
            .describe(
              "Render node of the GPU for h264_vaapi and hevc_vaapi, such as /dev/dri/renderD129. By default libva chooses.",
            ),
          nvenc: z
            .int()
            .min(0)
            .max(MAX_NVIDIA_GPUS - 1)
            .optional()
            .describe(
              "Number of the GPU for h264_nvenc and hevc_nvenc, as `nvidia-smi -L` lists them. By default the first that can encode.",
            ),
        })
        .prefault({}),
    })
    .prefault({}),
  isolation: z
    .enum(ISOLATIONS)
    .default("vm")
    .describe(
      '"vm": a process for each VM with a session, so that a fault in one VM\'s encoding harms no other\'s. "none": the relay encodes for all VMs itself, which needs less memory.',
    ),
  limits: z
    .strictObject({
      worker_mib: z
        .int()
        .min(128)
        .max(1 << 20)
        .default(2048)
        .describe(
          "Memory of each worker in MiB, without swap. The kernel ends a worker that needs more; its VM's stream continues with a key frame. Linux with a delegated cgroup only (docs/deployment.md).",
        ),
      gpu_mib: z
        .int()
        .min(128)
        .max(1 << 20)
        .default(512)
        .describe(
          "Likewise for each GPU process that `vsockenc host` starts. It needs some 50 MiB; the guest's own memory does not count. Its end costs the VM its GPU.",
        ),
    })
    .prefault({}),
  pictures: z
    .strictObject({
      max_runs: z
        .int()
        .min(0)
        .max(1_000_000)
        .default(16384)
        .describe(
          "Maximum runs of guest memory mapped at one time, by each process that encodes. Further pictures are gathered at each frame (tier resource-gather). Keep it well below the kernel's vm.max_map_count. With isolation = \"none\", VMs have equal parts of it, and none can take another's.",
        ),
    })
    .prefault({}),
  status: statusOptions(9478, "relay"),
  viewer: viewerOptions
    .safeExtend({
      enabled: z
        .boolean()
        .default(false)
        .describe(
          "Whether the relay serves the page where browsers watch streams and heads. The log has its address, with the token.",
        ),
    })
    .prefault({}),
  control: z
    .strictObject({
      enabled: z
        .boolean()
        .default(true)
        .describe("Whether the relay has a socket for `vsockenc vm`, for its own user and root."),
      socket: socketPath
        .optional()
        .describe(
          "Default: control.sock in the unit's run-time folder (/run/vsockenc), or in vsockenc below $XDG_RUNTIME_DIR; without these, there is none.",
        ),
    })
    .prefault({}),
  vm: z.array(vm).max(256).default([]).describe("One table per VM."),
  listen: z
    .array(listen)
    .max(64)
    .default([])
    .describe("One table per socket where the relay listens for guests and programs."),
});

const schema = fields.superRefine(checkConsistency);

type Draft = z.infer<typeof fields>;
type VmDraft = Draft["vm"][number];

export type Configuration = z.infer<typeof schema>;
export type VmConfiguration = Configuration["vm"][number];

/** What a worker gets of the configuration (host/workers). */
export interface WorkerConfiguration extends Pick<Configuration, "log" | "encoder" | "pictures"> {
  readonly vm?: VmConfiguration | undefined;
}

/** Every field of the configuration, from the schema. */
export function configurationFields(): ConfigurationField[] {
  return describeFields(schema);
}

/** What files of the folder beside a configuration may have. */
const ADDED = ["vm", "listen"];

/**
 * Checks the text of a configuration file, with those that add to it.
 *
 * @param source name of the file, for messages
 * @throws ConfigurationError with one line for each wrong field
 */
export function parseConfiguration(
  text: string,
  source: string,
  added: readonly TomlSource[] = [],
): Configuration {
  return parseToml(schema, { name: source, text }, { arrays: ADDED, sources: added });
}

/** The folder whose files add VMs and listeners to a configuration: host.d for host.toml. */
export function configurationFolder(file: string): string {
  return join(dirname(file), `${basename(file, ".toml")}.d`);
}

/**
 * Reads a configuration: a file, and those of its folder, in the order of their names.
 *
 * @throws ConfigurationError
 */
export function readConfiguration(file: string): Configuration {
  const { text } = readSource(file);
  return parseConfiguration(text, file, addedFiles(configurationFolder(file)).map(readSource));
}

function addedFiles(folder: string): string[] {
  try {
    const names = readdirSync(folder).filter((name) => name.endsWith(".toml") && !name.startsWith("."));
    return names.sort().map((name) => join(folder, name));
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw new ConfigurationError(`cannot read ${folder}: ${errorText(error)}`);
  }
}
