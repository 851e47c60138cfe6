/**
 * The element as a fragment of a pipeline for gst_parse_launch(), checked before GStreamer sees it:
 *
 *     vsockencElement({ bitrate: 4000, "keyframe-interval": 120 }, { caps: { codec: "h264", profile: "high" } })
 *     // vsockenc bitrate=4000 keyframe-interval=120 ! capsfilter caps="video/x-h264,profile=(string)high"
 *
 * Names are GStreamer's throughout, so that the same words stand in gst-inspect-1.0, in docs/element.md and in code.
 */
import { LIMITS } from "../../proto/limits.ts";
import type { ElementProperties, OutputCaps } from "./gen/element.ts";
import { isStorable, launchText } from "./launch-text.ts";
import { expectObject, oneOf, refuse, refuseName } from "./option-error.ts";
import { capsText, isCapsField } from "./output-caps.ts";
import { enumOf, METADATA, PROPERTIES, type PropertySpec, type UintProperty } from "./spec.ts";

export type { ElementProperties, OutputCaps } from "./gen/element.ts";
export { ElementOptionError } from "./option-error.ts";

/** What a fragment may have besides the element's own properties. */
export interface ElementOptions {
  /** The element's name, by which the pipeline's text and the application find it. */
  readonly name?: string;
  /** What the output has to be; a capsfilter behind the element asks for it. */
  readonly caps?: OutputCaps;
}

/**
 * The element with these properties. What is not given, or undefined, keeps its default. The properties of every
 * GstVideoEncoder (qos, min-force-key-unit-interval) are not among them; the application sets them on the element.
 *
 * A fragment can stand at the end of a description, which is why caps become a capsfilter: the short form
 * `! video/x-h264` needs another element behind it.
 *
 * @throws ElementOptionError for an unknown name, or for a value that the element would not take or would take for
 *   something else; the message says what it takes.
 */
export function vsockencElement(properties: ElementProperties = {}, options: ElementOptions = {}): string {
  expectObject("properties", properties);
  expectObject("options", options);
  const { name, caps, ...others } = options;
  for (const other of Object.keys(others)) refuseName("the name of an option", ["name", "caps"], other);

  const words: string[] = [METADATA.factory];
  if (name !== undefined) words.push(`name=${elementName(name)}`);
  for (const [key, value] of Object.entries(properties)) {
    if (value !== undefined) words.push(`${key}=${valueText(findProperty(key), value)}`);
  }
  if (caps !== undefined) words.push("!", "capsfilter", `caps=${launchText(capsText(caps))}`);
  return words.join(" ");
}

/** What the lexer of gst_parse_launch() takes for a name in `NAME.`, without the % and : of pads and children. */
const ELEMENT_NAME = /^[A-Za-z0-9_][A-Za-z0-9_-]*$/;

function elementName(name: unknown): string {
  if (typeof name === "string" && ELEMENT_NAME.test(name)) return launchText(name);
  return refuse("name", "ASCII letters, digits, _ and - (not first)", name);
}

function findProperty(name: string): PropertySpec {
  const property = PROPERTIES.find((candidate) => candidate.name === name);
  if (property !== undefined) return property;
  if (isCapsField(name)) {
    return refuse(
      "the name of a property",
      "no field of the output caps",
      name,
      "it belongs in options.caps",
    );
  }
  const settable = PROPERTIES.filter(({ mutable }) => mutable !== "never");
  return refuseName(
    "the name of a property",
    settable.map((candidate) => candidate.name),
    name,
  );
}

function valueText(property: PropertySpec, value: unknown): string {
  if (property.mutable === "never" || property.type === "structure") {
    return refuse(property.name, "no value", value, "it is read-only");
  }
  switch (property.type) {
    case "uint":
      return uintText(property, value);
    case "string":
      if (typeof value !== "string") return refuse(property.name, "a string", value);
      if (!isStorable(value)) return refuse(property.name, "Unicode text without NUL", value);
      return launchText(value);
    case "enum":
      return oneOf(
        property.name,
        enumOf(property).values.map(({ nick }) => nick),
        value,
      );
  }
}

function uintText({ name, minimum, maximum, unit }: UintProperty, value: unknown): string {
  // The element takes a bit rate beyond this for bit/s, which is for those who cannot change their pipelines.
  const most = unit === "kbit/s" ? Math.min(maximum, LIMITS.MAX_BITRATE_KBPS) : maximum;
  const expected = `an integer from ${minimum} to ${most}${unit === undefined ? "" : ` ${unit}`}`;
  if (typeof value !== "number" || !Number.isInteger(value) || value < minimum) {
    return refuse(name, expected, value);
  }
  if (value > most) {
    const advice = unit === "kbit/s" ? `if that is in bit/s, ${name} is ${Math.round(value / 1000)}` : "";
    return refuse(name, expected, value, advice);
  }
  return `${value}`;
}
