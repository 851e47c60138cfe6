/** The element as text (guest/element/pipeline.ts): what it refuses, and what real GStreamer makes of the rest. */
import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { OUTPUT_CHOICES } from "../../../guest/element/output-caps.ts";
import {
  ElementOptionError,
  type ElementOptions,
  type ElementProperties,
  type OutputCaps,
  vsockencElement,
} from "../../../guest/element/pipeline.ts";
import { ENUMS, enumOf, PROPERTIES, type PropertySpec } from "../../../guest/element/spec.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { buildElement, programPath } from "../../element/support/programs.ts";
import { BUILD_HANG_MS } from "../../support/hang.ts";

/** Values as someone without types may pass them. */
const untyped = (properties: unknown, options?: unknown): string =>
  vsockencElement(properties as ElementProperties, options as ElementOptions);

/** The error by which the call is refused. */
function refused(call: () => unknown): ElementOptionError {
  try {
    call();
  } catch (error) {
    if (error instanceof ElementOptionError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

describe("vsockencElement", () => {
  it("writes properties in the order they are given", () => {
    const text = vsockencElement({ bitrate: 4000, "keyframe-interval": 120, drop: "never" });
    expect(text).toBe("vsockenc bitrate=4000 keyframe-interval=120 drop=never");
    expect(vsockencElement()).toBe("vsockenc");
  });

  it("leaves out what is undefined", () => {
    expect(untyped({ bitrate: undefined, cid: 2 }, { name: undefined, caps: undefined })).toBe(
      "vsockenc cid=2",
    );
  });

  it("names the element and asks for caps behind it", () => {
    const caps = { codec: "h264", "stream-format": "avc", profile: "high", level: "4.1" } as const;
    expect(vsockencElement({ bitrate: 1 }, { name: "enc_1", caps })).toBe(
      'vsockenc name=enc_1 bitrate=1 ! capsfilter caps="video/x-h264,stream-format=(string)avc,profile=(string)high,level=(string)4.1"',
    );
    expect(vsockencElement({}, { caps: { codec: "h265" } })).toBe("vsockenc ! capsfilter caps=video/x-h265");
  });

  it("refuses a name that is no property, and says which is near", () => {
    const { option, message } = refused(() => untyped({ keyframeinterval: 60 }));
    expect(option).toBe("the name of a property");
    expect(message).toMatch(/^Expected one of device, .* but received 'keyframeinterval' of type string;/);
    expect(message).toMatch(/did you mean keyframe-interval\?$/);
    expect(refused(() => untyped({ maxInFlight: 2 })).message).toContain("did you mean max-in-flight?");
    for (const name of ["__proto__", "toString", "quantizer", ""]) {
      expect(refused(() => untyped(Object.fromEntries([[name, 1]]))).message).not.toContain("did you mean");
    }
    expect(refused(() => untyped({ stats: 1 })).message).toContain("it is read-only");
  });

  it("sends what is caps to the caps", () => {
    for (const name of ["codec", "profile", "level", "stream-format"]) {
      expect(refused(() => untyped({ [name]: "high" })).message).toContain("options.caps");
    }
  });

  it.each([
    [
      { bitrate: "4000" },
      "Expected an integer from 0 to 1000000 kbit/s for bitrate but received '4000' of type string",
    ],
    [
      { bitrate: 1.5 },
      "Expected an integer from 0 to 1000000 kbit/s for bitrate but received 1.5 of type number",
    ],
    [{ bitrate: Number.NaN }, "but received NaN of type number"],
    [{ bitrate: -1 }, "but received -1 of type number"],
    [
      { "connect-timeout": 99 },
      "Expected an integer from 100 to 60000 ms for connect-timeout but received 99",
    ],
    [{ "tcp-port": 65_536 }, "Expected an integer from 1 to 65535 for tcp-port but received 65536"],
    [{ cid: 2n }, "but received 2n of type bigint"],
    [{ drop: "oldest" }, "Expected one of auto, never, newest for drop but received 'oldest' of type string"],
    [{ drop: "nevr" }, "did you mean never?"],
    [{ drop: null }, "but received null of type null"],
    [{ device: 0 }, "Expected a string for device but received 0 of type number"],
    [{ device: "a\0b" }, "Expected Unicode text without NUL for device"],
    [{ device: "\ud800" }, "Expected Unicode text without NUL for device"],
    [
      { source: "inline" },
      "Expected no value for source but received 'inline' of type string; it is read-only",
    ],
    [null, "Expected an object for properties but received null of type null"],
    [[], "Expected an object for properties but received [] of type array"],
  ])("refuses %o", (properties, message) => {
    expect(refused(() => untyped(properties)).message).toContain(message);
  });

  it("takes bit rates in kbit/s only, and says what one in bit/s would be", () => {
    expect(vsockencElement({ bitrate: LIMITS.MAX_BITRATE_KBPS })).toBe("vsockenc bitrate=1000000");
    const { option, message } = refused(() => vsockencElement({ bitrate: 4_000_000 }));
    expect(option).toBe("bitrate");
    expect(message).toContain("kbit/s for bitrate but received 4000000");
    expect(message).toContain("if that is in bit/s, bitrate is 4000");
  });

  it.each([
    [{ name: "" }, "name"],
    [{ name: "a b" }, "name"],
    [{ name: "-a" }, "name"],
    [{ name: "enc." }, "name"],
    [{ name: 1 }, "name"],
    [{ nmae: "enc" }, "the name of an option"],
    [{ caps: "video/x-h264" }, "caps"],
    [{ caps: {} }, "caps.codec"],
    [{ caps: { codec: "vp8" } }, "caps.codec"],
    [{ caps: { codec: "h264", profile: "high-10" } }, "caps.profile"],
    [{ caps: { codec: "h264", "stream-format": "hvc1" } }, "caps.stream-format"],
    [{ caps: { codec: "h265", level: 4.1 } }, "caps.level"],
    [{ caps: { codec: "h264", streamFormat: "avc" } }, "the name of a field of caps"],
  ])("refuses the options %j", (options, option) => {
    expect(refused(() => untyped({}, options)).option).toBe(option);
  });
});

describe("what GStreamer reads", () => {
  const program = programPath("print-properties");

  beforeAll(() => {
    buildElement("print-properties");
  }, BUILD_HANG_MS);

  /** Settable properties of the first element of `factory` in each description. */
  function read(descriptions: readonly string[], factory = "vsockenc"): Record<string, unknown>[] {
    const output = execFileSync(program, ["--factory", factory, ...descriptions], { encoding: "utf8" });
    return output
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  const DEFAULTS = Object.fromEntries(
    PROPERTIES.filter(({ mutable }) => mutable !== "never").map((property) => [
      property.name,
      property.type === "uint" || property.type === "enum" ? property.default : null,
    ]),
  );

  /** Letters that GStreamer's parser, shells or caps treat in a way of their own, and some that none of them does. */
  const special = fc.constantFrom(
    ..."\"'\\!=,;:.(){}[]<>@#$%&*?|~^`/ \t\n\v\f\r\x01\x7faZ059_-+",
    "NULL",
    "\\\\",
    '\\"',
    " ! ",
    "\u00a0",
    "\u3000",
    "ß",
    "日",
    "😀",
    "\ufeff",
  );
  const text = fc.oneof(
    fc.string({ unit: special, maxLength: 12 }),
    fc.string({ unit: "binary", maxLength: 12 }).filter((value) => !value.includes("\0")),
    fc.constantFrom("", "NULL", '""', "\\", '"', '"a"', "a\\", "/run/vsockenc.sock", "a ! fakesink b=c"),
  );

  function arbitraryValue(property: PropertySpec): fc.Arbitrary<string | number> {
    switch (property.type) {
      case "uint":
        return fc.integer({
          min: property.minimum,
          max: property.name === "bitrate" ? LIMITS.MAX_BITRATE_KBPS : property.maximum,
        });
      case "enum":
        return fc.constantFrom(...enumOf(property).values.map(({ nick }) => nick));
      default:
        return text;
    }
  }

  const properties = fc.record(
    Object.fromEntries(
      PROPERTIES.filter(({ mutable }) => mutable !== "never").map((property) => [
        property.name,
        arbitraryValue(property),
      ]),
    ),
    { requiredKeys: [] },
  );

  it("has exactly the values that were given, and defaults besides", () => {
    fc.assert(
      fc.property(fc.array(properties, { minLength: 1, maxLength: 40 }), (samples) => {
        const descriptions = samples.map(
          (sample) => `fakesrc ! ${untyped(sample, { name: "enc" })} ! fakesink`,
        );
        const expected = samples.map((sample) =>
          expect.objectContaining({ ...DEFAULTS, ...sample, name: "enc" }),
        );
        expect(read(descriptions)).toEqual(expected);
      }),
      { numRuns: 60 },
    );
  });

  it("has the name that was given, also one that GStreamer has a meaning for", () => {
    const names = ["enc", "0-a_", "NULL"];
    expect(read(names.map((name) => vsockencElement({}, { name }))).map(({ name }) => name)).toEqual(names);
  });

  it("knows every value of every enum", () => {
    const samples = PROPERTIES.filter(
      (property) => property.type === "enum" && property.mutable !== "never",
    ).flatMap((property) =>
      ENUMS[(property as { of: keyof typeof ENUMS }).of].values.map(({ nick }) => ({
        [property.name]: nick,
      })),
    );
    expect(read(samples.map((sample) => untyped(sample)))).toEqual(
      samples.map((sample) => expect.objectContaining(sample)),
    );
  });

  it("has each caps field that was asked for, with levels as text", () => {
    const samples = OUTPUT_CHOICES.flatMap(({ codec, media, fields }) =>
      Object.entries(fields).flatMap(([field, values]) =>
        values.map((value) => ({
          caps: { codec, [field]: value } as OutputCaps,
          text: `${media}, ${field}=(string)${value}`,
        })),
      ),
    );
    // Reading them links the element, so its own caps have each of these values. Without the backslashes of quotes:
    const filters = read(
      samples.map(({ caps }) => vsockencElement({}, { caps })),
      "capsfilter",
    );
    expect(filters.map(({ caps }) => String(caps).replaceAll(/[\\"]/g, ""))).toEqual(
      samples.map(({ text }) => text),
    );
  });
});
