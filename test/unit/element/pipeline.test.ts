/** vsockencElement() (guest/element/pipeline.ts): invalid values, and how GStreamer parses its text. */
import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import {
  ElementOptionError,
  type ElementOptions,
  type ElementProperties,
  type OutputCaps,
  vsockencElement,
} from "../../../guest/element/pipeline.ts";
import { nicksOf, OUTPUTS, PROPERTIES, type PropertySpec } from "../../../guest/element/spec.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { buildElement, GST_ENVIRONMENT, programPath } from "../../element/support/programs.ts";
import { BUILD_HANG_MS } from "../../support/hang.ts";

const SETTABLE = PROPERTIES.filter(({ mutable }) => mutable !== "never");

/** The call without its types, as from JavaScript. */
const untyped = (properties: unknown, options?: unknown): string =>
  vsockencElement(properties as ElementProperties, options as ElementOptions);

/** The error that the call throws. */
function errorOf(properties: unknown, options?: unknown): ElementOptionError {
  try {
    untyped(properties, options);
  } catch (error) {
    if (error instanceof ElementOptionError) return error;
    throw error;
  }
  throw new Error("expected an ElementOptionError");
}

describe("vsockencElement", () => {
  it("writes properties in the order they are given, and no undefined ones", () => {
    const text = untyped({ bitrate: 4000, cid: undefined, "keyframe-interval": 120, drop: "never" });
    expect(text).toBe("vsockenc bitrate=4000 keyframe-interval=120 drop=never");
    expect(untyped({}, { name: undefined, caps: undefined })).toBe("vsockenc");
    expect(vsockencElement()).toBe("vsockenc");
  });

  it("names the element and adds a capsfilter", () => {
    const caps = { codec: "h264", "stream-format": "avc", profile: "high", level: "4.1" } as const;
    expect(vsockencElement({ bitrate: 1 }, { name: "enc_1", caps })).toBe(
      'vsockenc name=enc_1 bitrate=1 ! capsfilter caps="video/x-h264,stream-format=(string)avc,profile=(string)high,level=(string)4.1"',
    );
    expect(vsockencElement({}, { caps: { codec: "h265" } })).toBe(
      'vsockenc ! capsfilter caps="video/x-h265"',
    );
  });

  const unknown = ["keyframeinterval", "__proto__", "toString", "", "stats", "profile"];
  it.each(unknown)("rejects the property name %o", (name) => {
    const { option, message } = errorOf(Object.fromEntries([[name, 1]]));
    expect(option).toBe("property name");
    expect(message).toMatch(/^invalid property name: expected one of device, socket-path, .*, got '.*'$/);
  });

  it.each([
    [{ bitrate: "4000" }, "invalid bitrate: expected an integer from 0 to 1000000 kbit/s, got '4000'"],
    [{ bitrate: 1.5 }, "invalid bitrate: expected an integer from 0 to 1000000 kbit/s, got 1.5"],
    [{ bitrate: Number.NaN }, "got NaN"],
    [{ bitrate: -1 }, "got -1"],
    [{ bitrate: 4_000_000 }, "to 1000000 kbit/s, got 4000000 (4000 if that was bit/s)"],
    [{ "connect-timeout": 99 }, "invalid connect-timeout: expected an integer from 100 to 60000 ms, got 99"],
    [{ "tcp-port": 65_536 }, "invalid tcp-port: expected an integer from 1 to 65535, got 65536"],
    [{ cid: 2n }, "got 2n"],
    [{ drop: "oldest" }, "invalid drop: expected one of auto, never, newest, got 'oldest'"],
    [{ drop: null }, "got null"],
    [{ device: 0 }, "invalid device: expected Unicode text without NUL, got 0"],
    [{ device: "a\0b" }, "invalid device: expected Unicode text without NUL"],
    [{ device: "\ud800" }, "invalid device: expected Unicode text without NUL"],
    [null, "invalid properties: expected an object, got null"],
    [[], "invalid properties: expected an object, got []"],
  ])("rejects %o", (properties, message) => {
    expect(errorOf(properties).message).toContain(message);
  });

  it.each([
    [{ name: "" }, "name"],
    [{ name: "a b" }, "name"],
    [{ name: "-a" }, "name"],
    [{ name: "enc." }, "name"],
    [{ name: 1 }, "name"],
    [{ nmae: "enc" }, "option name"],
    [{ caps: "video/x-h264" }, "caps"],
    [{ caps: {} }, "caps.codec"],
    [{ caps: { codec: "vp8" } }, "caps.codec"],
    [{ caps: { codec: "h264", profile: "high-10" } }, "caps.profile"],
    [{ caps: { codec: "h264", "stream-format": "hvc1" } }, "caps.stream-format"],
    [{ caps: { codec: "h265", level: 4.1 } }, "caps.level"],
    [{ caps: { codec: "h264", streamFormat: "avc" } }, "caps field"],
  ])("rejects the options %j", (options, option) => {
    expect(errorOf({}, options).option).toBe(option);
  });
});

describe("GStreamer", () => {
  beforeAll(() => buildElement("run-pipeline"), BUILD_HANG_MS);

  /** Settable properties of the first element of `factory` in each description. */
  function read(descriptions: readonly string[], factory = "vsockenc"): Record<string, unknown>[] {
    const args = ["--parse", factory, ...descriptions];
    const env = { ...process.env, ...GST_ENVIRONMENT };
    const output = execFileSync(programPath("run-pipeline"), args, { encoding: "utf8", env });
    const lines = output.trimEnd().split("\n");
    return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  const DEFAULTS = Object.fromEntries(
    SETTABLE.map((property) => [property.name, "default" in property ? property.default : null]),
  );

  /** Characters with a special meaning to GStreamer's parsers, shells or caps, and some without. */
  const special = fc.constantFrom(
    ..."\"'\\!=,;:.(){}[]<>@#$%&*?|~^`/ \t\n\v\f\r\x01\x7faZ059_-+\u00a0\u3000ß日😀\ufeff",
    ...["NULL", "\\\\", '\\"', " ! "],
  );
  const text = fc.oneof(
    fc.string({ unit: special, maxLength: 12 }),
    fc.string({ unit: "binary", maxLength: 12 }).filter((value) => !value.includes("\0")),
    fc.constantFrom("", "NULL", '""', "\\", '"', '"a"', "a\\", "/run/vsockenc.sock", "a ! fakesink b=c"),
  );

  function arbitraryValue(property: PropertySpec): fc.Arbitrary<string | number> {
    if (property.type === "enum") return fc.constantFrom(...nicksOf(property));
    if (property.type !== "uint") return text;
    const max = property.name === "bitrate" ? LIMITS.MAX_BITRATE_KBPS : property.maximum;
    return fc.integer({ min: property.minimum, max });
  }

  const properties = fc.record(
    Object.fromEntries(SETTABLE.map((property) => [property.name, arbitraryValue(property)])),
    { requiredKeys: [] },
  );

  it("reads exactly the values that were given, and defaults for the others", () => {
    fc.assert(
      fc.property(fc.array(properties, { minLength: 1, maxLength: 40 }), (samples) => {
        const elements = samples.map((sample) => untyped(sample, { name: "enc" }));
        const expected = samples.map((sample) => ({ ...DEFAULTS, ...sample, name: "enc" }));
        const found = read(elements.map((element) => `fakesrc ! ${element} ! fakesink`));
        expect(found).toEqual(expected.map((each) => expect.objectContaining(each)));
      }),
      { numRuns: 60 },
    );
  });

  it("reads the name that was given, even NULL", () => {
    const names = ["enc", "0-a_", "NULL"];
    expect(read(names.map((name) => vsockencElement({}, { name }))).map(({ name }) => name)).toEqual(names);
  });

  it("reads every value of every enum", () => {
    const samples = SETTABLE.flatMap((property) =>
      property.type === "enum" ? nicksOf(property).map((nick) => ({ [property.name]: nick })) : [],
    );
    const expected = samples.map((sample) => expect.objectContaining(sample));
    expect(read(samples.map((sample) => untyped(sample)))).toEqual(expected);
  });

  it("reads every value of every caps field, levels as text", () => {
    const samples = OUTPUTS.flatMap(({ codec, media, streamFormats, profiles, levels }) =>
      Object.entries({
        "stream-format": streamFormats,
        profile: profiles.map(({ caps }) => caps),
        level: levels,
      }).flatMap(([field, values]) =>
        values.map((value) => ({
          caps: { codec: codec.toLowerCase(), [field]: value } as OutputCaps,
          text: `${media}, ${field}=(string)${value}`,
        })),
      ),
    );
    // Parsing links the capsfilter to the element, so the element's own caps contain each value. Without quotes:
    const elements = samples.map(({ caps }) => vsockencElement({}, { caps }));
    const filters = read(elements, "capsfilter");
    expect(filters.map(({ caps }) => String(caps).replaceAll(/[\\"]/g, ""))).toEqual(
      samples.map(({ text }) => text),
    );
  });
});
