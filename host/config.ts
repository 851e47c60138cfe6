/**
 * The configuration file of `vsockenc relay` and `vsockenc host`: TOML, checked by one schema.
 *
 * Every field is described here and nowhere else; unknown fields are errors, because a misspelt one would
 * otherwise be lost silently.
 */
import { z } from "zod";
import { type Address, isLoopback, parseAddress } from "../common/address.ts";
import { LOG_LEVELS } from "../common/log.ts";
import { statusOptions } from "../common/status-options.ts";
import { type ConfigurationField, describeFields, parseToml, readToml } from "../common/toml-file.ts";
import { LIMITS } from "../proto/limits.ts";
import { viewerOptions } from "../viewer/server/options.ts";
import { DEFAULT_ENCODERS, ENCODER_NAMES } from "./encoders/index.ts";

export { ConfigurationError } from "../common/toml-file.ts";

/** sun_path of a UNIX socket holds 107 bytes and a NUL on Linux, 103 on macOS; the shorter holds everywhere. */
const MAX_SOCKET_PATH_BYTES = 103;

const socketPath = z
  .string()
  .min(1, "must name a UNIX socket")
  .refine((path) => Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES, {
    message: `is longer than ${MAX_SOCKET_PATH_BYTES} bytes, which a UNIX socket's path cannot be; use a shorter folder`,
  });

const gpu = z.strictObject({
  socket: socketPath.describe(
    "UNIX socket on which the VM's GPU process listens for QEMU's vhost-user chardev.",
  ),
  heads: z.int().min(1).max(16).default(1).describe("Heads (connectors) that the guest sees."),
  mode: z
    .string()
    .regex(/^\d{2,5}x\d{2,5}$/, 'must be WIDTHxHEIGHT, e.g. "1280x800"')
    .default("1280x800")
    .describe("Preferred mode of every head."),
});

const kbps = z.int().min(1).max(LIMITS.MAX_BITRATE_KBPS);

const view = z.strictObject({
  heads: z
    .boolean()
    .default(false)
    .describe(
      "Whether the viewer shows what the VM displays, from its first picture on and without software in it. Each head is encoded only while somebody watches it. Needs `export`, and `viewer.enabled`.",
    ),
  rate: z.int().min(1).max(60).default(30).describe("Pictures of a head a second, at the most."),
  min_kbps: kbps.default(500).describe("Least bit rate of a head, for viewers with slow lines, in kbit/s."),
  max_kbps: kbps.default(8000).describe("Bit rate of a head where the viewers' lines carry it, in kbit/s."),
});

const users = z.array(z.int().min(0).max(0xffff_fffe)).max(16).default([]);

const listen = z.strictObject({
  address: z.string().describe("Where the relay listens: `unix:PATH`, `tcp:HOST:PORT` or `vsock:PORT`."),
  vm: z
    .string()
    .optional()
    .describe(
      "The VM whose resources those who connect may name. Without it they send pixels through the connection.",
    ),
  users: users.describe(
    "unix: user ids that may connect besides the relay's own and root. With any, the socket has mode 0666 instead of 0600 and the user ids decide.",
  ),
  cid: z
    .int()
    .min(1)
    .max(0xffff_fffe)
    .optional()
    .describe("vsock: the only context id that may connect; needed with `vm`."),
  remote: z
    .boolean()
    .default(false)
    .describe(
      "tcp: allows an address that other machines reach. Nothing is encrypted and nobody is asked who he is.",
    ),
  max_clients: z.int().min(1).max(256).default(16).describe("Connections at one time."),
});

const vm = z.strictObject({
  name: z
    .string()
    .regex(/^[\w.-]{1,63}$/, "must be 1 to 63 letters, digits, dots, dashes or underscores")
    .describe("Name of the VM, in logs and on command lines."),
  ports: z
    .array(socketPath)
    .max(4)
    .default([])
    .describe("UNIX sockets of the chardevs behind the ports org.vsockenc.0, .1, … in that order."),
  chardev: z
    .enum(["server", "client"])
    .default("server")
    .describe(
      'QEMU\'s side of these sockets: "server" (QEMU listens, the relay connects) or "client" (the relay listens, QEMU connects and reconnects).',
    ),
  users: users.describe(
    'User ids that may connect to the ports of chardev = "client", besides the relay\'s own and root. With any, the sockets have mode 0666 instead of 0600 and the user ids decide.',
  ),
  export: socketPath
    .optional()
    .describe(
      "Socket of the VM's exporter (its GPU process). Without it the guest has no resources to name.",
    ),
  gpu: gpu
    .optional()
    .describe("How `vsockenc host` starts the VM's GPU process; `vsockenc relay` does not read it."),
  view: view.prefault({}).describe("What of the VM the viewer shows, besides its ports' streams."),
});

/** What one field says about another. */
function checkConsistency(configuration: Draft, context: z.core.$RefinementCtx): void {
  const issue = (path: (string | number)[], message: string): void => {
    context.addIssue({ code: "custom", path, message });
  };
  const seen = new Set<string>();
  const once = (value: string, what: string, path: (string | number)[]): void => {
    if (seen.has(value)) issue(path, `${what} ${value} stands here a second time`);
    seen.add(value);
  };
  const { vm: vms, listen: listeners } = configuration;
  if (vms.length + listeners.length === 0) issue(["vm"], "at least one [[vm]] or [[listen]] is needed");
  for (const [index, { name, ports, gpu, view, export: exporter }] of vms.entries()) {
    once(name, "the name", ["vm", index, "name"]);
    for (const [port, path] of ports.entries()) once(path, "the socket", ["vm", index, "ports", port]);
    if (view.heads && exporter === undefined) issue(["vm", index, "export"], "is needed by view.heads");
    if (view.min_kbps > view.max_kbps) {
      issue(["vm", index, "view", "min_kbps"], `must not exceed max_kbps, which is ${view.max_kbps}`);
    }
    if (gpu !== undefined) once(gpu.socket, "the socket", ["vm", index, "gpu", "socket"]);
    if (ports.length === 0 && !listeners.some(({ vm: of }) => of === name)) {
      issue(["vm", index, "ports"], "is empty, and no [[listen]] names this VM: nothing leads to it");
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
      issue(at("vm"), `there is no [[vm]] named ${listener.vm}`);
    }
    checkListener(listener, address, (field, message) => issue(at(field), message));
  }
}

/** What the kind of an address asks of the other fields. */
function checkListener(
  { users: named, cid, remote, vm: bound }: z.infer<typeof listen>,
  address: Address,
  issue: (field: string, message: string) => void,
): void {
  const { kind } = address;
  if (kind === "unix" && !socketPath.safeParse(address.path).success) {
    issue("address", `names a path longer than ${MAX_SOCKET_PATH_BYTES} bytes; use a shorter folder`);
  }
  if (kind !== "unix" && named.length > 0) issue("users", "is for unix: addresses only");
  if (kind !== "vsock" && cid !== undefined) issue("cid", "is for vsock: addresses only");
  if (kind !== "tcp" && remote) issue("remote", "is for tcp: addresses only");
  if (kind === "vsock" && bound !== undefined && cid === undefined) {
    issue("cid", "is needed with `vm`: else every other VM could name this one's resources");
  }
  if (kind === "tcp" && !remote && !isLoopback(address.host)) {
    issue("remote", `must be true for ${address.host}, which other machines may reach; or use 127.0.0.1`);
  }
}

const fields = z.strictObject({
  log: z
    .strictObject({
      level: z.enum(LOG_LEVELS).default("info").describe("Least severe messages that are logged."),
    })
    .prefault({}),
  encoder: z
    .strictObject({
      order: z
        .array(z.enum(ENCODER_NAMES))
        .min(1)
        .default([...DEFAULT_ENCODERS])
        .describe(
          'Encoders to try, best first. Those that do not open on this machine are passed over, as videotoolbox is everywhere but on a Mac. "null" encodes nothing: for measuring everything else.',
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
          "Runs of guest memory that may be mapped at one time. Pictures beyond are copied together for each frame (tier resource-gather). Stay well below the kernel's vm.max_map_count.",
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
          "Whether the relay serves the page on which browsers watch streams and heads. Its address, with the token, is in the log.",
        ),
    })
    .prefault({}),
  vm: z.array(vm).max(256).default([]).describe("One table for each VM."),
  listen: z
    .array(listen)
    .max(64)
    .default([])
    .describe("One table for each socket on which the relay listens for guests and programs."),
});

const schema = fields.superRefine(checkConsistency);

type Draft = z.infer<typeof fields>;

export type Configuration = z.infer<typeof schema>;
export type ListenConfiguration = Configuration["listen"][number];
export type VmConfiguration = Configuration["vm"][number];

/** Every field of the configuration, read from the schema. */
export function configurationFields(): ConfigurationField[] {
  return describeFields(schema);
}

/**
 * Checks the text of a configuration file.
 *
 * @param source name of the file, for messages
 * @throws ConfigurationError with one line for each wrong field
 */
export function parseConfiguration(text: string, source: string): Configuration {
  return parseToml(schema, text, source);
}

/** @throws ConfigurationError */
export function readConfiguration(file: string): Configuration {
  return readToml(schema, file);
}
