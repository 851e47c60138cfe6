/** TOML files that one schema checks and describes: the host's configuration and the bridge's. */

import { readFileSync } from "node:fs";
import { parse, TomlError } from "smol-toml";
import { z } from "zod";
import { ConfigurationError } from "./configuration-error.ts";
import { errorText } from "./error-text.ts";

/** One row of the reference of a configuration's fields. */
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

/** Every field, read from the schema. */
export function describeFields(schema: z.ZodType): ConfigurationField[] {
  return describe(z.toJSONSchema(schema, { io: "input" }) as JsonSchema, "");
}

/** The fields as a table in Markdown. */
export function fieldsTable(fields: readonly ConfigurationField[]): string {
  const rows = fields.map(({ name, type, defaultValue, required, description }) => {
    const fallback = required ? "required" : defaultValue === undefined ? "" : `\`${defaultValue}\``;
    return `| \`${name}\` | ${type} | ${fallback} | ${description} |`;
  });
  return ["| field | values | default | meaning |", "|---|---|---|---|", ...rows].join("\n");
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
  if (field.type === "boolean") return "true, false";
  if (field.type === "integer") return `${field.minimum} … ${field.maximum}`;
  return field.type ?? "";
}

/** A file's text. */
export interface TomlSource {
  /** For messages. */
  readonly name: string;
  readonly text: string;
}

/** Files that add tables to arrays of a main one. */
export interface TomlParts {
  /** Names of the arrays; the files may have nothing else. */
  readonly arrays: readonly string[];
  readonly sources: readonly TomlSource[];
}

/**
 * Checks the text of a file, together with those that add to it.
 *
 * @throws ConfigurationError with one line for each wrong field
 */
export function parseToml<Schema extends z.ZodType>(
  schema: Schema,
  main: TomlSource,
  { arrays, sources }: TomlParts = { arrays: [], sources: [] },
): z.output<Schema> {
  const document = parseDocument(main);
  /** Where each added table comes from, by its place in the whole. */
  const origins = new Map<string, { readonly source: string; readonly index: number }>();
  for (const source of sources) {
    for (const [key, tables] of Object.entries(parseDocument(source))) {
      if (!arrays.includes(key) || !Array.isArray(tables)) {
        const allowed = arrays.map((name) => `[[${name}]]`).join(" and ");
        throw new ConfigurationError(
          `invalid configuration ${source.name}:\n  ${key}: only ${allowed} may be here`,
        );
      }
      document[key] ??= [];
      const all: unknown = document[key];
      // The schema says what is wrong with the main file.
      if (!Array.isArray(all)) continue;
      for (const [index, table] of tables.entries()) {
        origins.set(fieldName([key, all.length]), { source: source.name, index });
        all.push(table);
      }
    }
  }
  const result = schema.safeParse(document);
  if (result.success) return result.data;
  const lines = result.error.issues.map(({ path, message }) => {
    const [key = "", place, ...rest] = path;
    const origin = origins.get(fieldName([key, place ?? ""]));
    if (origin === undefined) return `  ${fieldName(path)}: ${message}`;
    return `  ${origin.source}: ${fieldName([key, origin.index, ...rest])}: ${message}`;
  });
  throw new ConfigurationError([`invalid configuration ${main.name}:`, ...lines].join("\n"));
}

/** @throws ConfigurationError */
export function readSource(file: string): TomlSource {
  try {
    return { name: file, text: readFileSync(file, "utf8") };
  } catch (error) {
    throw new ConfigurationError(`cannot read ${file}: ${errorText(error)}`);
  }
}

function parseDocument({ name, text }: TomlSource): Record<string, unknown> {
  try {
    return parse(text);
  } catch (error) {
    if (error instanceof TomlError) throw new ConfigurationError(`${name}: ${error.message}`);
    throw error;
  }
}

/** In the notation of the reference, e.g. `vm[0].ports[1]`. */
function fieldName(path: readonly PropertyKey[]): string {
  return path.reduce<string>((name, part) => {
    if (typeof part === "number") return `${name}[${part}]`;
    return name === "" ? String(part) : `${name}.${String(part)}`;
  }, "");
}
