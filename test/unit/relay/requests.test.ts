import { describe, expect, it } from "vitest";
import type { EncoderConfiguration } from "../../../host/encoders/encoder.ts";
import { RequestError } from "../../../host/relay/errors.ts";
import { checkConfigure, configuredBody, offerBody } from "../../../host/relay/requests.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { vsockenc } from "../../../proto/protobuf.ts";

const { Codec, Profile, RateControl } = vsockenc;

/** As the wire brings it: absent fields have their defaults. */
function check(changes: vsockenc.Configure.$Properties): EncoderConfiguration {
  const size = { codec: Codec.H264, width: 320, height: 240 };
  const bytes = vsockenc.Configure.encode({ ...size, ...changes } as vsockenc.Configure.$Properties).finish();
  return checkConfigure(vsockenc.Configure.decode(bytes));
}

function refusal(changes: vsockenc.Configure.$Properties): string {
  try {
    check(changes);
  } catch (error) {
    expect(error).toBeInstanceOf(RequestError);
    expect((error as RequestError).code).toBe("INVALID_VALUE");
    return (error as RequestError).message;
  }
  throw new Error("it was not refused");
}

describe("Configure", () => {
  it("that says nothing of profile, levels and rate control leaves them open, and means CBR", () => {
    expect(check({})).toMatchObject({ profile: undefined, levels: [], rateControl: "cbr" });
  });

  it.each([
    [Codec.H264, Profile.H264_CONSTRAINED_BASELINE, "constrained-baseline"],
    [Codec.H264, Profile.H264_MAIN, "main"],
    [Codec.H264, Profile.H264_HIGH, "high"],
    [Codec.H265, Profile.H265_MAIN, "main"],
  ])("of codec %i names profile %i: %s", (codec, profile, name) => {
    expect(check({ codec, profile }).profile).toBe(name);
  });

  it("names levels and rate control", () => {
    expect(check({ levels: [42, 9, 31] }).levels).toEqual([42, 9, 31]);
    expect(check({ codec: Codec.H265, levels: [93, 186] }).levels).toEqual([93, 186]);
    expect(check({ rateControl: RateControl.CBR }).rateControl).toBe("cbr");
    expect(check({ rateControl: RateControl.VBR }).rateControl).toBe("vbr");
  });

  it("is refused with a profile of another codec", () => {
    expect(refusal({ profile: Profile.H265_MAIN })).toBe(
      "profile is 16; expected for h264: 1 (constrained-baseline), 2 (main), 3 (high), or 0 for any",
    );
    expect(refusal({ codec: Codec.H265, profile: Profile.H264_HIGH })).toBe(
      "profile is 3; expected for h265: 16 (main), or 0 for any",
    );
  });

  it("is refused with a profile that there is not", () => {
    expect(refusal({ profile: 99 as vsockenc.Profile })).toMatch(/^profile is 99; expected for h264: /);
  });

  it("is refused with too many levels", () => {
    const levels = Array.from({ length: LIMITS.MAX_LEVELS + 1 }, () => 40);
    expect(refusal({ levels })).toBe("levels.length is 33; it must be between 0 and 32 levels");
    expect(check({ levels: levels.slice(1) }).levels).toHaveLength(LIMITS.MAX_LEVELS);
  });

  it("is refused with a level that the codec has not", () => {
    expect(refusal({ levels: [40, 43] })).toMatch(
      /^levels\[1\] is 43; expected for h264: 10, 9, 11, .*, 62$/,
    );
    expect(refusal({ codec: Codec.H265, levels: [40] })).toMatch(
      /^levels\[0\] is 40; expected for h265: 30, /,
    );
    expect(refusal({ levels: [0xffffffff] })).toMatch(/^levels\[0\] is 4294967295; /);
  });

  it("is refused with a rate control that there is not", () => {
    expect(refusal({ rateControl: 3 as vsockenc.RateControl })).toBe(
      "rate_control is 3; expected 1 (CBR) or 2 (VBR)",
    );
  });

  it("has errors that fit the wire", () => {
    for (const changes of [{ levels: [0xffffffff] }, { profile: 0x7fffffff as vsockenc.Profile }]) {
      expect(Buffer.byteLength(refusal(changes))).toBeLessThanOrEqual(LIMITS.MAX_TEXT_BYTES);
    }
  });
});

describe("what the relay says of encoders", () => {
  it("names profiles by their numbers, the best-suited first", () => {
    const offer = { name: "x", maxWidth: 16, maxHeight: 16, hardware: true } as const;
    expect(offerBody({ ...offer, codec: "h264", profiles: ["high", "constrained-baseline"] })).toMatchObject({
      name: "x",
      codec: Codec.H264,
      profiles: [Profile.H264_HIGH, Profile.H264_CONSTRAINED_BASELINE],
    });
    expect(offerBody({ ...offer, codec: "h265", profiles: ["main"] })).toMatchObject({
      codec: Codec.H265,
      profiles: [Profile.H265_MAIN],
    });
  });

  it("has the rates in force in Configured", () => {
    const colorimetry = { primaries: 1, transfer: 13, matrix: 6, fullRange: false };
    const rates = { bitrateKbps: 1234, keyframeInterval: 56 };
    const description = { encoder: "x", hardware: true, width: 320, height: 240, colorimetry, ...rates };
    const bytes = vsockenc.Configured.encode(configuredBody(7, description)).finish();
    expect(vsockenc.Configured.decode(bytes)).toMatchObject({ serial: 7, ...description });
  });
});
