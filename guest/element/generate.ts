/**
 * Makes, from spec.ts, everything that repeats it (all of it git-ignored but the tables of docs/element.md):
 *
 *     gen/vsockenc-properties.h, .c    enums, settings, properties and caps for the C element
 *     gen/element.ts                   the properties as TypeScript types
 *     docs/element.md                  the tables between the "generated" marks
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { PIXEL_FORMATS } from "../../proto/formats.ts";
import { replaceGenerated } from "../../proto/generated-marks.ts";
import {
  ENUMS,
  enumOf,
  METADATA,
  OUTPUTS,
  PROPERTIES,
  type PropertySpec,
  STATS_FIELDS,
  STATS_STAGES,
} from "./spec.ts";

const here = dirname(fileURLToPath(import.meta.url));
const generated = join(here, "gen");
const NOTE = "Generated from guest/element/spec.ts by guest/element/generate.ts.";

const upper = (name: string): string => name.replaceAll("-", "_").toUpperCase();
const lower = (name: string): string => name.replaceAll("-", "_");
const snake = (name: string): string => name.replace(/(?!^)([A-Z])/g, "_$1").toLowerCase();
const quote = (text: string): string => JSON.stringify(text);

const enumConstant = (name: string, nick: string): string =>
  `GST_VSOCK_ENC_${snake(name).toUpperCase()}_${upper(nick)}`;
const enumMacro = (name: string): string => `GST_TYPE_VSOCK_ENC_${snake(name).toUpperCase()}`;
const enumFunction = (name: string): string => `gst_vsock_enc_${snake(name)}_get_type`;

/** Properties that the application sets; the others are computed by the element. */
const SETTINGS = PROPERTIES.filter((property) => property.mutable !== "never");

function settingField(property: PropertySpec): string {
  switch (property.type) {
    case "uint":
      return `  guint ${lower(property.name)};`;
    case "string":
      return `  gchar *${lower(property.name)};`;
    case "enum":
      return `  GstVsockEnc${property.of} ${lower(property.name)};`;
    case "structure":
      throw new Error(`spec.ts: property ${property.name}: a structure cannot be set`);
  }
}

function cHeader(): string {
  const enums = Object.entries(ENUMS).map(([name, { blurb, values }]) => {
    const members = values.map(
      (value, index) => `  /* ${value.blurb} */\n  ${enumConstant(name, value.nick)} = ${index},`,
    );
    return [
      `/* ${blurb}. */`,
      "typedef enum {",
      ...members,
      `} GstVsockEnc${name};`,
      `#define ${enumMacro(name)} (${enumFunction(name)} ())`,
      `GType ${enumFunction(name)} (void);`,
      "",
    ].join("\n");
  });
  const formats = PIXEL_FORMATS.map(({ name }) => name).join(", ");
  const drmFormats = PIXEL_FORMATS.map(({ drm }) => drm).join(", ");
  return `/* ${NOTE} */
#ifndef VSOCKENC_PROPERTIES_H
#define VSOCKENC_PROPERTIES_H

#include <gst/gst.h>

#define VSOCKENC_FACTORY ${quote(METADATA.factory)}
#define VSOCKENC_LONG_NAME ${quote(METADATA.longName)}
#define VSOCKENC_KLASS ${quote(METADATA.klass)}
#define VSOCKENC_DESCRIPTION ${quote(METADATA.description)}
#define VSOCKENC_AUTHOR ${quote(METADATA.author)}

#define VSOCKENC_FORMATS "{ ${formats} }"
#define VSOCKENC_DRM_FORMATS "{ ${drmFormats} }"
/* X(codec, media, stream format with parameter sets in band, the one with them in codec_data) */
#define VSOCKENC_OUTPUTS(X) \\
${OUTPUTS.map(({ codec, media, streamFormats: [inBand, packetized] }) => `  X(${codec}, ${quote(media)}, ${quote(inBand)}, ${quote(packetized)})`).join(" \\\n")}
/* X(codec, name in caps, profile on the wire) */
#define VSOCKENC_PROFILES(X) \\
${OUTPUTS.flatMap(({ codec, profiles }) => profiles.map(({ caps, wire }) => `  X(${codec}, ${quote(caps)}, ${wire})`)).join(" \\\n")}

${enums.join("\n")}
/* Property ids. */
enum {
  VSOCKENC_PROP_0,
${PROPERTIES.map(({ name }) => `  VSOCKENC_PROP_${upper(name)},`).join("\n")}
};

/* What the application can set. */
typedef struct {
${SETTINGS.map(settingField).join("\n")}
} GstVsockEncSettings;

void gst_vsock_enc_settings_init (GstVsockEncSettings *settings);
void gst_vsock_enc_settings_clear (GstVsockEncSettings *settings);
void gst_vsock_enc_settings_copy (GstVsockEncSettings *to, const GstVsockEncSettings *from);
/* FALSE: the id is not one of a setting. */
gboolean gst_vsock_enc_settings_set (GstVsockEncSettings *settings, guint id, const GValue *value);
gboolean gst_vsock_enc_settings_get (const GstVsockEncSettings *settings, guint id, GValue *value);
void gst_vsock_enc_install_properties (GObjectClass *klass);

#endif
`;
}

function paramSpec(property: PropertySpec): string {
  const nick = property.name.replaceAll("-", " ").replace(/^./, (letter) => letter.toUpperCase());
  const flags = {
    ready: "G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY",
    playing: "G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_PLAYING",
    never: "G_PARAM_READABLE | G_PARAM_STATIC_STRINGS",
  }[property.mutable];
  const names = `${quote(property.name)}, ${quote(nick)}, ${quote(property.blurb)}`;
  switch (property.type) {
    case "uint":
      return `g_param_spec_uint (${names}, ${property.minimum}, ${property.maximum}, ${property.default}, ${flags})`;
    case "string":
      return `g_param_spec_string (${names}, NULL, ${flags})`;
    case "enum":
      enumOf(property);
      return `g_param_spec_enum (${names}, ${enumMacro(property.of)}, ${enumConstant(property.of, property.default)}, ${flags})`;
    case "structure":
      return `g_param_spec_boxed (${names}, GST_TYPE_STRUCTURE, ${flags})`;
  }
}

function settingDefault(property: PropertySpec): string {
  const field = `settings->${lower(property.name)}`;
  switch (property.type) {
    case "uint":
      return `  ${field} = ${property.default};`;
    case "enum":
      return `  ${field} = ${enumConstant(property.of, property.default)};`;
    default:
      return `  ${field} = NULL;`;
  }
}

function settingAccess(property: PropertySpec, direction: "set" | "get"): string {
  const field = `settings->${lower(property.name)}`;
  const statements = {
    uint: { set: `${field} = g_value_get_uint (value);`, get: `g_value_set_uint (value, ${field});` },
    enum: { set: `${field} = g_value_get_enum (value);`, get: `g_value_set_enum (value, ${field});` },
    string: {
      set: `g_free (${field});\n      ${field} = g_value_dup_string (value);`,
      get: `g_value_set_string (value, ${field});`,
    },
    structure: { set: "", get: "" },
  }[property.type];
  return `    case VSOCKENC_PROP_${upper(property.name)}:\n      ${statements[direction]}\n      return TRUE;`;
}

function docblock(property: PropertySpec): string {
  const text = [property.blurb, ...("details" in property && property.details ? [property.details] : [])];
  return [
    "  /**",
    `   * GstVsockEnc:${property.name}:`,
    "   *",
    ...text.map((line) => `   * ${line}${line.endsWith(".") ? "" : "."}`),
    "   *",
    `   * Since: ${property.since}`,
    "   */",
  ].join("\n");
}

function cSource(): string {
  const enums = Object.entries(ENUMS).map(([name, { values }]) => {
    const rows = values.map(
      (value) => `    { ${enumConstant(name, value.nick)}, ${quote(value.blurb)}, ${quote(value.nick)} },`,
    );
    return `GType
${enumFunction(name)} (void)
{
  static gsize type = 0;
  static const GEnumValue values[] = {
${rows.join("\n")}
    { 0, NULL, NULL },
  };

  if (g_once_init_enter (&type)) {
    GType registered = g_enum_register_static ("GstVsockEnc${name}", values);
    gst_type_mark_as_plugin_api (registered, 0);
    g_once_init_leave (&type, registered);
  }
  return type;
}
`;
  });
  const installs = PROPERTIES.map(
    (property) =>
      `${docblock(property)}\n  g_object_class_install_property (klass, VSOCKENC_PROP_${upper(property.name)},\n      ${paramSpec(property)});`,
  );
  const strings = SETTINGS.filter(({ type }) => type === "string").map(({ name }) => lower(name));
  return `/* ${NOTE} */
#include "vsockenc-properties.h"

${enums.join("\n")}
void
gst_vsock_enc_settings_init (GstVsockEncSettings *settings)
{
${SETTINGS.map(settingDefault).join("\n")}
}

void
gst_vsock_enc_settings_clear (GstVsockEncSettings *settings)
{
${strings.map((name) => `  g_clear_pointer (&settings->${name}, g_free);`).join("\n")}
}

void
gst_vsock_enc_settings_copy (GstVsockEncSettings *to, const GstVsockEncSettings *from)
{
  gst_vsock_enc_settings_clear (to);
  *to = *from;
${strings.map((name) => `  to->${name} = g_strdup (from->${name});`).join("\n")}
}

gboolean
gst_vsock_enc_settings_set (GstVsockEncSettings *settings, guint id, const GValue *value)
{
  switch (id) {
${SETTINGS.map((property) => settingAccess(property, "set")).join("\n")}
    default:
      return FALSE;
  }
}

gboolean
gst_vsock_enc_settings_get (const GstVsockEncSettings *settings, guint id, GValue *value)
{
  switch (id) {
${SETTINGS.map((property) => settingAccess(property, "get")).join("\n")}
    default:
      return FALSE;
  }
}

void
gst_vsock_enc_install_properties (GObjectClass *klass)
{
${installs.join("\n\n")}
}
`;
}

function typescriptType(property: PropertySpec): string {
  switch (property.type) {
    case "uint":
      return "number";
    case "string":
      return "string";
    case "enum":
      return enumOf(property)
        .values.map(({ nick }) => quote(nick))
        .join(" | ");
    case "structure":
      return "Readonly<Record<string, string | number>>";
  }
}

function typescriptTypes(): string {
  const union = (values: readonly string[]): string => values.map(quote).join(" | ");
  const outputs = OUTPUTS.map(({ codec, streamFormats, profiles }) => {
    const profile = union(profiles.map(({ caps }) => caps));
    return `  | { readonly codec: ${quote(codec.toLowerCase())}; readonly "stream-format"?: ${union(streamFormats)}; readonly profile?: ${profile}; readonly level?: string }`;
  });
  const fields = SETTINGS.map(
    (property) =>
      `  /** ${property.blurb}. */\n  readonly ${quote(property.name)}?: ${typescriptType(property)};`,
  );
  return `// ${NOTE}

/** Properties of the element \`${METADATA.factory}\` that an application can set. */
export interface ElementProperties {
${fields.join("\n")}
}

/** Caps behind the element, by GStreamer's names of their fields; what is not given is negotiated. */
export type OutputCaps =
${outputs.join("\n")};
`;
}

function propertyTable(): string {
  const mutable = { ready: "before PAUSED", playing: "always", never: "read-only" };
  const rows = PROPERTIES.map((property) => {
    const range = property.type === "uint" ? `${property.minimum}–${property.maximum}` : "";
    const type =
      property.type === "enum"
        ? enumOf(property)
            .values.map(({ nick }) => `\`${nick}\``)
            .join(", ")
        : property.type;
    const initial =
      property.type === "string"
        ? `unset: ${property.unset}`
        : property.type === "structure"
          ? ""
          : `${property.default}`;
    const meaning = [property.blurb, property.details].filter((text) => text !== undefined).join(". ");
    return `| \`${property.name}\` | ${type} ${range} | ${initial} | ${mutable[property.mutable]} | ${meaning} |`;
  });
  return ["| property | type | default | settable | meaning |", "|---|---|---|---|---|", ...rows].join("\n");
}

function enumTable(): string {
  const rows = Object.entries(ENUMS).flatMap(([name, { values }]) => {
    const owner = PROPERTIES.find((property) => property.type === "enum" && property.of === name);
    return values.map(({ nick, blurb }) => `| \`${owner?.name ?? name}\` | \`${nick}\` | ${blurb} |`);
  });
  return ["| property | value | meaning |", "|---|---|---|", ...rows].join("\n");
}

function statsTable(): string {
  const fields = STATS_FIELDS.map(({ name, type, blurb }) => `| \`${name}\` | ${type} | ${blurb} |`);
  const stages = STATS_STAGES.map(
    ({ name, blurb }) => `| \`${name}-p50\`, \`${name}-p95\` | guint | ${blurb} |`,
  );
  return ["| field | type | meaning |", "|---|---|---|", ...fields, ...stages].join("\n");
}

rmSync(generated, { recursive: true, force: true });
mkdirSync(generated, { recursive: true });
writeFileSync(join(generated, "vsockenc-properties.h"), cHeader());
writeFileSync(join(generated, "vsockenc-properties.c"), cSource());
writeFileSync(join(generated, "element.ts"), typescriptTypes());
replaceGenerated(join(here, "..", "..", "docs", "element.md"), {
  properties: propertyTable(),
  enums: enumTable(),
  stats: statsTable(),
});
console.log(`generated ${relative(process.cwd(), generated)}`);
