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

const vm = z.strictObject({
  name: z
    .string()
    .regex(/^[\w.-]{1,63}$/, "must be 1 to 63 letters, digits, dots, dashes or underscores")
    .describe("Name of the VM, in logs and on command lines."),
  ports: z
    .array(socketPath)
    .min(1)
    .max(4)
    .describe("UNIX sockets on which QEMU listens for the ports org.vsockenc.0, .1, … in that order."),
  export: socketPath
    .optional()
    .describe("Export socket of the VM's GPU process. Without it the guest has no resources to name."),
  gpu: gpu
    .optional()
    .describe("How `vsockenc host` starts the VM's GPU process; `vsockenc relay` does not read it."),
});

const schema = z
  .strictObject({
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
          .describe('Encoders to try, best first. "null" encodes nothing: for measuring everything else.'),
      })
      .prefault({}),
    vm: z.array(vm).min(1, "at least one [[vm]] is needed").describe("One table for each VM."),
  })
  .superRefine((configuration, context) => {
    const seen = new Set<string>();
    const once = (value: string, what: string, path: (string | number)[]): void => {
      if (seen.has(value)) {
        context.addIssue({ code: "custom", path, message: `${what} ${value} stands here a second time` });
      }
      seen.add(value);
    };
    for (const [index, { name, ports, gpu }] of configuration.vm.entries()) {
      once(name, "the name", ["vm", index, "name"]);
      for (const [port, path] of ports.entries()) once(path, "the socket", ["vm", index, "ports", port]);
      if (gpu !== undefined) once(gpu.socket, "the socket", ["vm", index, "gpu", "socket"]);
    }
  });

export type Configuration = z.infer<typeof schema>;
export type VmConfiguration = Configuration["vm"][number];

/** One row of the reference in docs/configuration.md. */
export interface ConfigurationField {
  /** As in the file, e.g. "vm[].gpu.heads". */
  readonly name: string;
  readonly type: string;
  /** As JSON; undefined where the field has none. */
  readonly defaultValue: string | undefined;
  readonly required: boolean;
  readonly description: string;
}

interface JsonSchema {
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly default?: unknown;
  readonly description?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly items?: JsonSchema;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
}

/** Every field of the configuration, read from the schema. */
export function configurationFields(): ConfigurationField[] {
  return describe(z.toJSONSchema(schema, { io: "input" }) as JsonSchema, "");
}

function describe(node: JsonSchema, prefix: string): ConfigurationField[] {
  return Object.entries(node.properties ?? {}).flatMap(([key, field]) => {
    const name = `${prefix}${key}`;
    const row: ConfigurationField = {
      name,
      type: typeName(field),
      defaultValue: field.default === undefined ? undefined : JSON.stringify(field.default),
      required: node.required?.includes(key) ?? false,
      description: field.description ?? "",
    };
    const inner = [...describe(field, `${name}.`), ...describe(field.items ?? {}, `${name}[].`)];
    return field.properties !== undefined && row.description === "" ? inner : [row, ...inner];
  });
}

function typeName(field: JsonSchema): string {
  if (field.enum !== undefined) return field.enum.map((value) => JSON.stringify(value)).join(", ");
  if (field.type === "array") return `array of ${typeName(field.items ?? {})}`;
  if (field.type === "object") return "table";
  if (field.type === "integer") return `${field.minimum} … ${field.maximum}`;
  return field.type ?? "";
}

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
