/**
 * What a pipeline can ask of the element's output: codec, stream format, profile and level.
 *
 * They are caps and no properties, as with every encoder of GStreamer: whatever stands behind the element chooses them.
 */
import { expectObject, oneOf, refuseName } from "./option-error.ts";

/** By codec: the media type, and the values of each caps field. */
const CODECS = {
  h264: {
    media: "video/x-h264",
    fields: {
      "stream-format": ["byte-stream", "avc"],
      profile: ["constrained-baseline", "main", "high"],
      // Rec. ITU-T H.264, table A-1.
      // biome-ignore format: one row of the table
      level: ["1", "1b", "1.1", "1.2", "1.3", "2", "2.1", "2.2", "3", "3.1", "3.2", "4", "4.1", "4.2", "5", "5.1", "5.2", "6", "6.1", "6.2"],
    },
  },
  h265: {
    media: "video/x-h265",
    fields: {
      "stream-format": ["byte-stream", "hvc1"],
      profile: ["main"],
      // Rec. ITU-T H.265, table A.8.
      level: ["1", "2", "2.1", "3", "3.1", "4", "4.1", "5", "5.1", "5.2", "6", "6.1", "6.2"],
    },
  },
} as const;

type Codecs = typeof CODECS;

/** Codecs that the output caps may name. */
export type OutputCodec = keyof Codecs;

/** Caps behind the element, by GStreamer's names of their fields; what is not given is negotiated. */
export type OutputCaps = {
  [Codec in OutputCodec]: { readonly codec: Codec } & Fields<Codecs[Codec]["fields"]>;
}[OutputCodec];

type Fields<Values extends Readonly<Record<string, readonly string[]>>> = {
  readonly [Field in keyof Values]?: Values[Field][number];
};

/** Codecs, and for each the fields and values its caps may have. */
export const OUTPUT_CAPS_VALUES: Readonly<Record<OutputCodec, Readonly<Record<string, readonly string[]>>>> =
  {
    h264: CODECS.h264.fields,
    h265: CODECS.h265.fields,
  };

/**
 * The caps in GStreamer's words.
 *
 * @throws ElementOptionError for a field or value that the codec does not have.
 */
export function capsText(caps: OutputCaps): string {
  expectObject("caps", caps);
  const codec = oneOf("caps.codec", Object.keys(CODECS) as OutputCodec[], caps.codec);
  const fields = OUTPUT_CAPS_VALUES[codec];
  const chosen = Object.entries(caps).flatMap(([name, value]) => {
    if (name === "codec" || value === undefined) return [];
    const values = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (values === undefined) {
      return refuseName("the name of a field of caps", ["codec", ...Object.keys(fields)], name);
    }
    // With its type: GStreamer takes 4.1 for a fraction of one, and a level is a string.
    return [`${name}=(string)${oneOf(`caps.${name}`, values, value)}`];
  });
  return [CODECS[codec].media, ...chosen].join(",");
}
