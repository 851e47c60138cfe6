/**
 * What a pipeline can ask of the element's output: codec, stream format, profile and level.
 *
 * They are caps and no properties, as with every encoder of GStreamer: whatever stands behind the element chooses them.
 */
import type { OutputCaps } from "./gen/element.ts";
import { expectObject, oneOf, refuseName } from "./option-error.ts";
import { OUTPUTS } from "./spec.ts";

/** By codec: every level of Rec. ITU-T H.264, table A-1, and H.265, table A.8, as caps have it. */
const LEVELS: Readonly<Record<OutputCaps["codec"], string>> = {
  h264: "1 1b 1.1 1.2 1.3 2 2.1 2.2 3 3.1 3.2 4 4.1 4.2 5 5.1 5.2 6 6.1 6.2",
  h265: "1 2 2.1 3 3.1 4 4.1 5 5.1 5.2 6 6.1 6.2",
};

/** A codec's media type, and the values of each caps field. */
export interface OutputChoice {
  readonly codec: OutputCaps["codec"];
  readonly media: string;
  readonly fields: Readonly<Record<string, readonly string[]>>;
}

/** What there is to choose. */
export const OUTPUT_CHOICES: readonly OutputChoice[] = OUTPUTS.map(
  ({ codec: name, media, streamFormats, profiles }) => {
    const codec = name.toLowerCase() as OutputCaps["codec"];
    const profile = profiles.map(({ caps }) => caps);
    return {
      codec,
      media,
      fields: { "stream-format": streamFormats, profile, level: LEVELS[codec].split(" ") },
    };
  },
);

/** Whether the name is one of a field of the output's caps, which people take for a property. */
export function isCapsField(name: string): boolean {
  return name === "codec" || OUTPUT_CHOICES.some(({ fields }) => Object.hasOwn(fields, name));
}

/**
 * The caps in GStreamer's words.
 *
 * @throws ElementOptionError for a field or value that the codec does not have.
 */
export function capsText(caps: OutputCaps): string {
  expectObject("caps", caps);
  const choice = OUTPUT_CHOICES.find(({ codec }) => codec === caps.codec);
  if (choice === undefined)
    return refuseName(
      "caps.codec",
      OUTPUT_CHOICES.map(({ codec }) => codec),
      caps.codec,
    );
  const { media, fields } = choice;
  const chosen = Object.entries(caps).flatMap(([name, value]) => {
    if (name === "codec" || value === undefined) return [];
    const values = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (values === undefined) {
      return refuseName("the name of a field of caps", ["codec", ...Object.keys(fields)], name);
    }
    // With its type: GStreamer takes a bare 4.1 for a number, and a level is a string.
    return [`${name}=(string)${oneOf(`caps.${name}`, values, value)}`];
  });
  return [media, ...chosen].join(",");
}
