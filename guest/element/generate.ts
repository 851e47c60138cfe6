/**
 * Generates everything that repeats spec.ts and virtgpusrc-spec.ts (all git-ignored except the tables):
 *
 *     gen/ELEMENT-properties.h, .c         enums, settings and the table of properties for the C elements
 *     gen/element.ts                       the encoder's properties as TypeScript types
 *     docs/element.md, docs/virtgpusrc.md  the tables between the "generated" marks
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { PIXEL_FORMATS } from "../../proto/formats.ts";
import { replaceGenerated } from "../../proto/generated-marks.ts";
import { type ElementSpec, elementHeader, elementSource, fileName, quote } from "./generate-c.ts";
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
import * as screen from "./virtgpusrc-spec.ts";

const here = dirname(fileURLToPath(import.meta.url));
const docs = join(here, "..", "..", "docs");
const generated = join(here, "gen");

/** Pixel formats and output caps, for the encoder's pad templates. */
const CAPS_CONSTANTS = `#define VSOCKENC_FORMATS "{ ${PIXEL_FORMATS.map(({ name }) => name).join(", ")} }"
#define VSOCKENC_DRM_FORMATS "{ ${PIXEL_FORMATS.map(({ drm }) => drm).join(", ")} }"
/* X(codec, media, stream format with parameter sets in band, the one with them in codec_data) */
#define VSOCKENC_OUTPUTS(X) \\
${OUTPUTS.map(({ codec, media, streamFormats: [inBand, packetized] }) => `  X(${codec}, ${quote(media)}, ${quote(inBand)}, ${quote(packetized)})`).join(" \\\n")}
/* X(codec, name in caps, profile on the wire) */
#define VSOCKENC_PROFILES(X) \\
${OUTPUTS.flatMap(({ codec, profiles }) => profiles.map(({ caps, wire }) => `  X(${codec}, ${quote(caps)}, ${wire})`)).join(" \\\n")}
`;

const ELEMENTS: readonly ElementSpec[] = [
  {
    page: "element.md",
    type: "GstVsockEnc",
    metadata: METADATA,
    enums: ENUMS,
    properties: PROPERTIES,
    constants: CAPS_CONSTANTS,
  },
  {
    page: "virtgpusrc.md",
    type: "GstVirtgpuSrc",
    metadata: screen.METADATA,
    enums: screen.ENUMS,
    properties: screen.PROPERTIES,
    constants: "",
  },
];

const union = (values: readonly string[]): string => values.map(quote).join(" | ");

function typescriptType(property: PropertySpec): string {
  switch (property.type) {
    case "uint":
      return "number";
    case "string":
    case "boolean":
      return property.type;
    case "enum":
      return union(enumOf(property).values.map(({ nick }) => nick));
    case "structure":
      return "Readonly<Record<string, string | number>>";
  }
}

function typescriptTypes(): string {
  const outputs = OUTPUTS.map(({ codec, streamFormats, profiles }) => {
    const profile = union(profiles.map(({ caps }) => caps));
    return `  | { readonly codec: ${quote(codec.toLowerCase())}; readonly "stream-format"?: ${union(streamFormats)}; readonly profile?: ${profile}; readonly level?: string }`;
  });
  const fields = PROPERTIES.filter(({ mutable }) => mutable !== "never").map(
    (property) =>
      `  /** ${property.blurb}. */\n  readonly ${quote(property.name)}?: ${typescriptType(property)};`,
  );
  return `// Generated from guest/element/spec.ts by guest/element/generate.ts.

/** Properties of the element \`${METADATA.factory}\` that an application can set. */
export interface ElementProperties {
${fields.join("\n")}
}

/** Caps that the element's output must have, with GStreamer's field names; fields that are not given are negotiated. */
export type OutputCaps =
${outputs.join("\n")};
`;
}

function propertyTable({ properties, enums }: ElementSpec): string {
  const mutable = { ready: "before PAUSED", playing: "always", never: "read-only" };
  const rows = properties.map((property) => {
    const range = property.type === "uint" ? `${property.minimum}–${property.maximum}` : "";
    const type =
      property.type === "enum"
        ? enumOf(property, enums)
            .values.map(({ nick }) => `\`${nick}\``)
            .join(", ")
        : `${property.type} ${range}`.trim();
    const initial =
      property.type === "string"
        ? `unset: ${property.unset}`
        : property.type === "structure"
          ? ""
          : `${property.default}`;
    const meaning = [property.blurb, property.details].filter((text) => text !== undefined).join(". ");
    return `| \`${property.name}\` | ${type} | ${initial} | ${mutable[property.mutable]} | ${meaning} |`;
  });
  return ["| property | type | default | settable | meaning |", "|---|---|---|---|---|", ...rows].join("\n");
}

function enumTable({ properties, enums }: ElementSpec): string {
  const rows = Object.entries(enums).flatMap(([name, { values }]) => {
    const owner = properties.find((property) => property.type === "enum" && property.of === name);
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
for (const element of ELEMENTS) {
  writeFileSync(join(generated, `${fileName(element)}.h`), elementHeader(element));
  writeFileSync(join(generated, `${fileName(element)}.c`), elementSource(element));
  replaceGenerated(join(docs, element.page), {
    properties: propertyTable(element),
    enums: enumTable(element),
  });
}
writeFileSync(join(generated, "element.ts"), typescriptTypes());
replaceGenerated(join(docs, "element.md"), { stats: statsTable() });
console.log(`generated ${relative(process.cwd(), generated)}`);
