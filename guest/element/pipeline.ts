/**
 * The element as part of a gst_parse_launch() description, validated before GStreamer parses it:
 *
 *     vsockencElement({ bitrate: 4000, "keyframe-interval": 120 }, { caps: { codec: "h264", profile: "high" } })
 *     // vsockenc bitrate=4000 keyframe-interval=120 ! capsfilter caps="video/x-h264,profile=(string)high"
 *
 * All names are GStreamer's, as in gst-inspect-1.0 and docs/element.md.
 */
import { inspect } from "node:util";
import { LIMITS } from "../../proto/limits.ts";
import type { ElementProperties, OutputCaps } from "./gen/element.ts";
import { METADATA, nicksOf, OUTPUTS, PROPERTIES, type PropertySpec, type UintProperty } from "./spec.ts";

export type { ElementProperties, OutputCaps } from "./gen/element.ts";

/** An invalid property, option or caps field. The message has the value that was passed and the valid ones. */
export class ElementOptionError extends Error {
  override readonly name = "ElementOptionError";
  /** Name of the invalid item, e.g. `bitrate`. */
  readonly option: string;

  constructor(option: string, message: string) {
    super(message);
    this.option = option;
  }
}

function invalid(option: string, expected: string, received: unknown, advice = ""): never {
  const shown = inspect(received, { depth: 0, breakLength: Number.POSITIVE_INFINITY, maxStringLength: 80 });
  throw new ElementOptionError(option, `invalid ${option}: expected ${expected}, got ${shown}${advice}`);
}

function oneOf(option: string, values: readonly string[], received: unknown): string {
  const found = values.find((value) => value === received);
  return found ?? invalid(option, `one of ${values.join(", ")}`, received);
}

function checkObject(option: string, received: unknown): void {
  if (typeof received !== "object" || received === null || Array.isArray(received))
    invalid(option, "an object", received);
}

export interface ElementOptions {
  /** The element's name in the pipeline. */
  readonly name?: string;
  /** Caps that the output must have, set by a capsfilter after the element. */
  readonly caps?: OutputCaps;
}

/**
 * The element with these properties. Properties that are missing or undefined keep their defaults. The properties of
 * every GstVideoEncoder (qos, min-force-key-unit-interval) are not accepted here; set them on the element.
 *
 * Caps become a capsfilter rather than the short form `! video/x-h264`, which cannot end a description.
 *
 * @throws ElementOptionError for an unknown name or an invalid value
 */
export function vsockencElement(properties: ElementProperties = {}, options: ElementOptions = {}): string {
  checkObject("properties", properties);
  checkObject("options", options);
  const { name, caps, ...others } = options;
  for (const other of Object.keys(others)) oneOf("option name", ["name", "caps"], other);

  const words: string[] = [METADATA.factory];
  if (name !== undefined) words.push(`name=${elementName(name)}`);
  for (const [key, value] of Object.entries(properties)) {
    if (value !== undefined) words.push(`${key}=${valueText(findProperty(key), value)}`);
  }
  if (caps !== undefined) words.push("!", "capsfilter", `caps="${capsText(caps)}"`);
  return words.join(" ");
}

function elementName(name: unknown): string {
  // gst_parse_launch() can refer to these as `NAME.`.
  if (typeof name === "string" && /^[A-Za-z0-9_][A-Za-z0-9_-]*$/.test(name)) return launchText(name);
  return invalid("name", "ASCII letters, digits, _ and - (not first)", name);
}

function findProperty(name: string): PropertySpec {
  const settable = PROPERTIES.filter(({ mutable }) => mutable !== "never");
  const found = settable.find((property) => property.name === name);
  return found ?? invalid("property name", `one of ${settable.map((each) => each.name).join(", ")}`, name);
}

function valueText(property: PropertySpec, value: unknown): string {
  switch (property.type) {
    case "uint":
      return uintText(property, value);
    case "string":
      // GStreamer's strings are UTF-8 and end at the first NUL.
      if (typeof value === "string" && !/\0|\p{Surrogate}/u.test(value)) return launchText(value);
      return invalid(property.name, "Unicode text without NUL", value);
    case "enum":
      return oneOf(property.name, nicksOf(property), value);
    case "boolean":
      return typeof value === "boolean" ? `${value}` : invalid(property.name, "a boolean", value);
    case "structure":
      return invalid(property.name, "no value, as it is read-only", value);
  }
}

function uintText({ name, minimum, maximum, unit }: UintProperty, value: unknown): string {
  // The element interprets larger bit rates as bit/s, for applications whose pipelines cannot be changed.
  const limit = unit === "kbit/s" ? Math.min(maximum, LIMITS.MAX_BITRATE_KBPS) : maximum;
  const expected = `an integer from ${minimum} to ${limit}${unit === undefined ? "" : ` ${unit}`}`;
  if (typeof value !== "number" || !Number.isInteger(value)) return invalid(name, expected, value);
  const advice = unit === "kbit/s" && value > limit ? ` (${Math.round(value / 1000)} if that was bit/s)` : "";
  return value >= minimum && value <= limit ? `${value}` : invalid(name, expected, value, advice);
}

/** Characters with no special meaning to any of the parsers below: GST_ASCII_IS_STRING of gst/gst_private.h. */
const PLAIN = /^[\w+\-./:]+$/;

/**
 * Text as a property value in a gst_parse_launch() description.
 *
 * GStreamer parses such a value three times: the lexer finds its end (`_string` in gst/parse/parse.l),
 * gst_parse_unescape() in gst/parse/types.h removes backslashes outside double quotes, and
 * gst_value_deserialize_string() in gst/gstvalue.c reads NULL as no string and text in double quotes with octal
 * escapes. Text that is not plain is escaped for all three.
 */
function launchText(text: string): string {
  if (text !== "NULL" && PLAIN.test(text)) return text;
  const bytes = [...Buffer.from(text, "utf8")].map((byte) => {
    const character = String.fromCharCode(byte);
    return PLAIN.test(character) ? character : `\\\\${byte.toString(8).padStart(3, "0")}`;
  });
  return `\\"${bytes.join("")}\\"`;
}

function capsText(caps: OutputCaps): string {
  checkObject("caps", caps);
  const codecs = OUTPUTS.map(({ codec }) => codec.toLowerCase()).join(", ");
  const output =
    OUTPUTS.find(({ codec }) => codec.toLowerCase() === caps.codec) ??
    invalid("caps.codec", `one of ${codecs}`, caps.codec);
  const fields = new Map([
    ["stream-format", output.streamFormats],
    ["profile", output.profiles.map((profile) => profile.caps)],
    ["level", output.levels],
  ]);
  const chosen = Object.entries(caps).flatMap(([name, value]) => {
    if (name === "codec" || value === undefined) return [];
    const values =
      fields.get(name) ?? invalid("caps field", `one of codec, ${[...fields.keys()].join(", ")}`, name);
    // With its type: GStreamer would parse a bare 4.1 as a number.
    return [`${name}=(string)${oneOf(`caps.${name}`, values, value)}`];
  });
  return [output.media, ...chosen].join(",");
}
