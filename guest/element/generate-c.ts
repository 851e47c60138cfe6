/** The C of an element's properties: enums, settings, and their registration. Pure functions of its specification. */
import { type AnyPropertySpec, type EnumSpec, enumOf } from "./spec.ts";

/** An element, and how its C is called. */
export interface ElementSpec {
  /** The specification's file name, for the note in what is generated. */
  readonly spec: string;
  /** Its page below docs/. */
  readonly page: string;
  /** As in GstVsockEnc, gst_vsock_enc and VSOCKENC. */
  readonly type: string;
  readonly functions: string;
  readonly macros: string;
  readonly metadata: {
    readonly factory: string;
    readonly longName: string;
    readonly klass: string;
    readonly description: string;
    readonly author: string;
  };
  readonly enums: Readonly<Record<string, EnumSpec>>;
  readonly properties: readonly AnyPropertySpec[];
  /** More for the header. */
  readonly constants: string;
}

const upper = (name: string): string => name.replaceAll("-", "_").toUpperCase();
const lower = (name: string): string => name.replaceAll("-", "_");
const snake = (name: string): string => name.replace(/(?!^)([A-Z])/g, "_$1").toLowerCase();
export const quote = (text: string): string => JSON.stringify(text);

const enumConstant = ({ functions }: ElementSpec, name: string, nick: string): string =>
  `${functions.toUpperCase()}_${snake(name).toUpperCase()}_${upper(nick)}`;
const enumMacro = ({ functions }: ElementSpec, name: string): string =>
  `GST_TYPE_${functions.slice("gst_".length).toUpperCase()}_${snake(name).toUpperCase()}`;
const enumFunction = ({ functions }: ElementSpec, name: string): string =>
  `${functions}_${snake(name)}_get_type`;
const note = ({ spec }: ElementSpec): string =>
  `Generated from guest/element/${spec} by guest/element/generate.ts.`;
/** The name of the files, without what follows the dot. */
export const fileName = ({ metadata }: ElementSpec): string => `${metadata.factory}-properties`;

/** Properties that the application sets; the others are computed by the element. */
export function settingsOf({ properties }: ElementSpec): readonly AnyPropertySpec[] {
  return properties.filter((property) => property.mutable !== "never");
}

function settingField(element: ElementSpec, property: AnyPropertySpec): string {
  switch (property.type) {
    case "uint":
      return `  guint ${lower(property.name)};`;
    case "string":
      return `  gchar *${lower(property.name)};`;
    case "enum":
      return `  ${element.type}${property.of} ${lower(property.name)};`;
    case "boolean":
      return `  gboolean ${lower(property.name)};`;
    case "structure":
      throw new Error(`${element.spec}: property ${property.name}: a structure cannot be set`);
  }
}

export function elementHeader(element: ElementSpec): string {
  const { type, functions, macros, metadata, properties } = element;
  const settings = settingsOf(element);
  const guard = `${macros}_PROPERTIES_H`;
  const enums = Object.entries(element.enums).map(([name, { blurb, values }]) => {
    const members = values.map(
      (value, index) => `  /* ${value.blurb} */\n  ${enumConstant(element, name, value.nick)} = ${index},`,
    );
    return [
      `/* ${blurb}. */`,
      "typedef enum {",
      ...members,
      `} ${type}${name};`,
      `#define ${enumMacro(element, name)} (${enumFunction(element, name)} ())`,
      `GType ${enumFunction(element, name)} (void);`,
      "",
    ].join("\n");
  });
  return `/* ${note(element)} */
#ifndef ${guard}
#define ${guard}

#include <gst/gst.h>

#define ${macros}_FACTORY ${quote(metadata.factory)}
#define ${macros}_LONG_NAME ${quote(metadata.longName)}
#define ${macros}_KLASS ${quote(metadata.klass)}
#define ${macros}_DESCRIPTION ${quote(metadata.description)}
#define ${macros}_AUTHOR ${quote(metadata.author)}

${element.constants}
${enums.join("\n")}
/* Property ids. */
enum {
  ${macros}_PROP_0,
${properties.map(({ name }) => `  ${macros}_PROP_${upper(name)},`).join("\n")}
};

/* What the application can set. */
typedef struct {
${settings.map((property) => settingField(element, property)).join("\n")}
} ${type}Settings;

void ${functions}_settings_init (${type}Settings *settings);
void ${functions}_settings_clear (${type}Settings *settings);
void ${functions}_settings_copy (${type}Settings *to, const ${type}Settings *from);
/* FALSE: the id is not one of a setting. */
gboolean ${functions}_settings_set (${type}Settings *settings, guint id, const GValue *value);
gboolean ${functions}_settings_get (const ${type}Settings *settings, guint id, GValue *value);
void ${functions}_install_properties (GObjectClass *klass);

#endif
`;
}

function paramSpec(element: ElementSpec, property: AnyPropertySpec): string {
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
      enumOf(property, element.enums);
      return `g_param_spec_enum (${names}, ${enumMacro(element, property.of)}, ${enumConstant(element, property.of, property.default)}, ${flags})`;
    case "boolean":
      return `g_param_spec_boolean (${names}, ${property.default ? "TRUE" : "FALSE"}, ${flags})`;
    case "structure":
      return `g_param_spec_boxed (${names}, GST_TYPE_STRUCTURE, ${flags})`;
  }
}

function settingDefault(element: ElementSpec, property: AnyPropertySpec): string {
  const field = `settings->${lower(property.name)}`;
  switch (property.type) {
    case "uint":
      return `  ${field} = ${property.default};`;
    case "enum":
      return `  ${field} = ${enumConstant(element, property.of, property.default)};`;
    case "boolean":
      return `  ${field} = ${property.default ? "TRUE" : "FALSE"};`;
    default:
      return `  ${field} = NULL;`;
  }
}

function settingAccess({ macros }: ElementSpec, property: AnyPropertySpec, direction: "set" | "get"): string {
  const field = `settings->${lower(property.name)}`;
  const statements = {
    uint: { set: `${field} = g_value_get_uint (value);`, get: `g_value_set_uint (value, ${field});` },
    enum: { set: `${field} = g_value_get_enum (value);`, get: `g_value_set_enum (value, ${field});` },
    string: {
      set: `g_free (${field});\n      ${field} = g_value_dup_string (value);`,
      get: `g_value_set_string (value, ${field});`,
    },
    boolean: {
      set: `${field} = g_value_get_boolean (value);`,
      get: `g_value_set_boolean (value, ${field});`,
    },
    structure: { set: "", get: "" },
  }[property.type];
  return `    case ${macros}_PROP_${upper(property.name)}:\n      ${statements[direction]}\n      return TRUE;`;
}

function docblock({ type }: ElementSpec, property: AnyPropertySpec): string {
  const text = [property.blurb, ...("details" in property && property.details ? [property.details] : [])];
  return [
    "  /**",
    `   * ${type}:${property.name}:`,
    "   *",
    ...text.map((line) => `   * ${line}${line.endsWith(".") ? "" : "."}`),
    "   *",
    `   * Since: ${property.since}`,
    "   */",
  ].join("\n");
}

export function elementSource(element: ElementSpec): string {
  const { type, functions, macros, properties } = element;
  const settings = settingsOf(element);
  const enums = Object.entries(element.enums).map(([name, { values }]) => {
    const rows = values.map(
      (value) =>
        `    { ${enumConstant(element, name, value.nick)}, ${quote(value.blurb)}, ${quote(value.nick)} },`,
    );
    return `GType
${enumFunction(element, name)} (void)
{
  static gsize type = 0;
  static const GEnumValue values[] = {
${rows.join("\n")}
    { 0, NULL, NULL },
  };

  if (g_once_init_enter (&type)) {
    GType registered = g_enum_register_static ("${type}${name}", values);
    gst_type_mark_as_plugin_api (registered, 0);
    g_once_init_leave (&type, registered);
  }
  return type;
}
`;
  });
  const installs = properties.map(
    (property) =>
      `${docblock(element, property)}\n  g_object_class_install_property (klass, ${macros}_PROP_${upper(property.name)},\n      ${paramSpec(element, property)});`,
  );
  const strings = settings.filter(({ type }) => type === "string").map(({ name }) => lower(name));
  return `/* ${note(element)} */
#include "${fileName(element)}.h"

${enums.join("\n")}
void
${functions}_settings_init (${type}Settings *settings)
{
${settings.map((property) => settingDefault(element, property)).join("\n")}
}

void
${functions}_settings_clear (${type}Settings *settings)
{
${strings.map((name) => `  g_clear_pointer (&settings->${name}, g_free);`).join("\n")}
}

void
${functions}_settings_copy (${type}Settings *to, const ${type}Settings *from)
{
  ${functions}_settings_clear (to);
  *to = *from;
${strings.map((name) => `  to->${name} = g_strdup (from->${name});`).join("\n")}
}

gboolean
${functions}_settings_set (${type}Settings *settings, guint id, const GValue *value)
{
  switch (id) {
${settings.map((property) => settingAccess(element, property, "set")).join("\n")}
    default:
      return FALSE;
  }
}

gboolean
${functions}_settings_get (const ${type}Settings *settings, guint id, GValue *value)
{
  switch (id) {
${settings.map((property) => settingAccess(element, property, "get")).join("\n")}
    default:
      return FALSE;
  }
}

void
${functions}_install_properties (GObjectClass *klass)
{
${installs.join("\n\n")}
}
`;
}
