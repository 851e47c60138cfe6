/** The C of an element's specification: its enums, its settings and the table that properties.c reads. */
import { type EnumSpec, enumOf, type PropertySpec } from "./spec.ts";

export interface ElementSpec {
  /** The specification's file, for the note in the generated files. */
  readonly file: string;
  /** The element's page below docs/. */
  readonly page: string;
  /** Name of the C type, e.g. GstVsockEnc. */
  readonly type: string;
  readonly metadata: Readonly<Record<"factory" | "longName" | "klass" | "description" | "author", string>>;
  readonly enums: Readonly<Record<string, EnumSpec>>;
  readonly properties: readonly PropertySpec[];
  /** Further definitions for the header. */
  readonly constants: string;
}

export const quote = (text: string): string => JSON.stringify(text);
const identifier = (name: string): string => name.replaceAll("-", "_");
const snake = (name: string): string => name.replace(/(?!^)([A-Z])/g, "_$1").toLowerCase();
const macro = ({ metadata }: ElementSpec): string => metadata.factory.toUpperCase();
const note = ({ file }: ElementSpec): string =>
  `/* Generated from guest/element/${file} by guest/element/generate.ts. */`;

/** Base name of the generated files. */
export const fileName = ({ metadata }: ElementSpec): string => `${metadata.factory}-properties`;

const enumFunction = (element: ElementSpec, name: string): string => `${snake(element.type)}_${snake(name)}`;
const enumConstant = (element: ElementSpec, name: string, nick: string): string =>
  `${enumFunction(element, name)}_${identifier(nick)}`.toUpperCase();

const C_TYPES = { uint: "guint ", string: "gchar *", boolean: "gboolean ", structure: "GstStructure *" };

function settingField({ type }: ElementSpec, property: PropertySpec): string {
  const cType = property.type === "enum" ? `${type}${property.of} ` : C_TYPES[property.type];
  return `  ${cType}${identifier(property.name)};`;
}

export function elementHeader(element: ElementSpec): string {
  const { type, metadata, enums, properties, constants } = element;
  const prefixMacro = macro(element);
  const definitions = Object.entries(enums).map(([name, { blurb, values }]) => {
    const constant = enumFunction(element, name).toUpperCase();
    return `/* ${blurb}. */
typedef enum {
${values.map(({ nick }) => `  ${enumConstant(element, name, nick)},`).join("\n")}
} ${type}${name};
#define ${constant.replace("GST_", "GST_TYPE_")} (${enumFunction(element, name)}_get_type ())
GType ${enumFunction(element, name)}_get_type (void);
`;
  });
  const settings = properties.filter(({ mutable }) => mutable !== "never");
  return `${note(element)}
#ifndef ${prefixMacro}_PROPERTIES_H
#define ${prefixMacro}_PROPERTIES_H

#include "properties.h"

${Object.entries(metadata)
  .map(([key, text]) => `#define ${prefixMacro}_${snake(key).toUpperCase()} ${quote(text)}`)
  .join("\n")}

${constants}
${definitions.join("\n")}
enum {
  ${prefixMacro}_PROP_0,
${properties.map(({ name }) => `  ${prefixMacro}_PROP_${identifier(name).toUpperCase()},`).join("\n")}
};

/* What the application can set. */
typedef struct {
${settings.map((property) => settingField(element, property)).join("\n")}
} ${type}Settings;

extern const VencProperty ${metadata.factory}_properties[];

#endif
`;
}

const FLAGS = {
  ready: "G_PARAM_READWRITE | GST_PARAM_MUTABLE_READY",
  playing: "G_PARAM_READWRITE | GST_PARAM_MUTABLE_PLAYING",
  never: "G_PARAM_READABLE",
};
const G_TYPES = { uint: "UINT", string: "STRING", enum: "ENUM", boolean: "BOOLEAN", structure: "BOXED" };

/** The members of a property's row that depend on its type. */
function typeMembers(element: ElementSpec, property: PropertySpec): string {
  switch (property.type) {
    case "uint":
      return `.minimum = ${property.minimum}u, .maximum = ${property.maximum}u, .initial = ${property.default}u,`;
    case "boolean":
      return `.initial = ${property.default ? 1 : 0},`;
    case "enum":
      enumOf(property, element.enums);
      return `.enum_type = ${enumFunction(element, property.of)}_get_type, .initial = ${enumConstant(element, property.of, property.default)},`;
    case "string":
    case "structure":
      return "";
  }
}

function propertyRow(element: ElementSpec, property: PropertySpec): string {
  const { name, blurb, details, mutable } = property;
  const nick = name.replaceAll("-", " ").replace(/^./, (letter) => letter.toUpperCase());
  const offset =
    mutable === "never" ? "VENC_READ_ONLY" : `G_STRUCT_OFFSET (${element.type}Settings, ${identifier(name)})`;
  return `  /**
   * ${element.type}:${name}:
   *
   * ${blurb}.${details === undefined ? "" : ` ${details}`}
   *
   * Since: 0.1
   */
  { .name = ${quote(name)}, .nick = ${quote(nick)}, .blurb = ${quote(blurb)}, .type = G_TYPE_${G_TYPES[property.type]},
    .flags = ${FLAGS[mutable]}, .offset = ${offset}, ${typeMembers(element, property)} },`;
}

export function elementSource(element: ElementSpec): string {
  const { type, metadata, properties } = element;
  const enums = Object.entries(element.enums).map(([name, { values }]) => {
    const rows = values.map(
      ({ nick, blurb }) => `  { ${enumConstant(element, name, nick)}, ${quote(blurb)}, ${quote(nick)} }`,
    );
    return `G_DEFINE_ENUM_TYPE (${type}${name}, ${enumFunction(element, name)},\n${rows.join(",\n")})\n`;
  });
  return `${note(element)}
#include "${fileName(element)}.h"

${enums.join("\n")}
const VencProperty ${metadata.factory}_properties[] = {
${properties.map((property) => propertyRow(element, property)).join("\n")}
  { .name = NULL },
};
`;
}
