/**
 * The configuration file of `vsockenc relay` and `vsockenc host`: TOML, checked by one schema.
 *
 * Every field is described here and nowhere else; unknown fields are errors, because a misspelt one would
 * otherwise be lost silently.
 */
import { readFileSync } from "node:fs";
import { parse, TomlError } from "smol-toml";
import { z } from "zod";
import { DEFAULT_ENCODERS, ENCODER_NAMES } from "./encoders/index.ts";
import { LOG_LEVELS } from "./log.ts";

/** The configuration is absent or wrong; the message names file, field and what it may be. */
export class ConfigurationError extends Error {
  override readonly name = "ConfigurationError";
}

/** sun_path of a UNIX socket holds 107 bytes and a NUL on Linux, 103 on macOS; the shorter holds everywhere. */
const MAX_SOCKET_PATH_BYTES = 103;

const socketPath = z
  .string()
  .min(1, "must name a UNIX socket")
  .refine((path) => Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES, {
    message: `is longer than ${MAX_SOCKET_PATH_BYTES} bytes, which a UNIX socket's path cannot be; use a shorter folder`,
  });

const gpu = z.strictObject({
  /** Where `vsockenc gpu` listens for QEMU's vhost-user chardev. */
  socket: socketPath,
  /** Heads (connectors) that the guest sees; the device needs max_outputs of at least as many. */
  heads: z.int().min(1).max(16).default(1),
  /** Preferred mode of every head. */
  mode: z
    .string()
    .regex(/^\d{2,5}x\d{2,5}$/, 'must be WIDTHxHEIGHT, e.g. "1280x800"')
    .default("1280x800"),
});

const vm = z.strictObject({
  /** Name in the log. */
  name: z.string().regex(/^[\w.-]{1,63}$/, "must be 1 to 63 letters, digits, dots, dashes or underscores"),
  /** QEMU's chardev sockets of the ports org.vsockenc.0, .1, … in that order. */
  ports: z.array(socketPath).min(1).max(4),
  /** Export socket of the VM's GPU process; without it the guest has no resources to name. */
  export: socketPath.optional(),
  /** How `vsockenc host` starts the VM's GPU process; `vsockenc relay` does not read it. */
  gpu: gpu.optional(),
});

const schema = z
  .strictObject({
    log: z
      .strictObject({
        level: z.enum(LOG_LEVELS).default("info"),
      })
      .prefault({}),
    encoder: z
      .strictObject({
        /** Encoders to try, best first. "null" encodes nothing: for measuring everything else. */
        order: z
          .array(z.enum(ENCODER_NAMES))
          .min(1)
          .default([...DEFAULT_ENCODERS]),
      })
      .prefault({}),
    vm: z.array(vm).min(1, "at least one [[vm]] is needed"),
  })
  .superRefine((configuration, context) => {
    const seen = new Map<string, string>();
    const once = (value: string, what: string, path: (string | number)[]): void => {
      if (seen.has(value)) {
        context.addIssue({ code: "custom", path, message: `${what} ${value} stands here a second time` });
      }
      seen.set(value, what);
    };
    for (const [index, { name, ports, gpu }] of configuration.vm.entries()) {
      once(name, "the name", ["vm", index, "name"]);
      for (const [port, path] of ports.entries()) once(path, "the socket", ["vm", index, "ports", port]);
      if (gpu !== undefined) once(gpu.socket, "the socket", ["vm", index, "gpu", "socket"]);
    }
  });

export type Configuration = z.infer<typeof schema>;
export type VmConfiguration = Configuration["vm"][number];

/**
 * Checks the text of a configuration file.
 *
 * @param source name of the file, for messages
 * @throws ConfigurationError with one line for each wrong field
 */
export function parseConfiguration(text: string, source: string): Configuration {
  let document: unknown;
  try {
    document = parse(text);
  } catch (error) {
    if (error instanceof TomlError) throw new ConfigurationError(`${source}: ${error.message}`);
    throw error;
  }
  const result = schema.safeParse(document);
  if (result.success) return result.data;
  const lines = result.error.issues.map(({ path, message }) => `  ${fieldName(path)}: ${message}`);
  throw new ConfigurationError([`${source} is not a valid configuration:`, ...lines].join("\n"));
}

/** @throws ConfigurationError */
export function readConfiguration(file: string): Configuration {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigurationError(`${file} cannot be read: ${reason}`);
  }
  return parseConfiguration(text, file);
}

/** `vm[0].ports[1]`, as people write it. */
function fieldName(path: readonly PropertyKey[]): string {
  return path.reduce<string>((name, part) => {
    if (typeof part === "number") return `${name}[${part}]`;
    return name === "" ? String(part) : `${name}.${String(part)}`;
  }, "");
}
