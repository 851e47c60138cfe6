/**
 * The guest's requests, checked field by field and converted to the host's types.
 *
 * Protobuf has no ranges, and the guest is hostile: no field is used before it has been checked here. Each error names the
 * field and the limit.
 */
import { type CodecName, PROFILES, type ProfileName } from "../../common/codec.ts";
import type { ResourceContent } from "../../proto/export.ts";
import { LIMITS } from "../../proto/limits.ts";
import { vsockenc } from "../../proto/protobuf.ts";
import type {
  EncoderConfiguration,
  EncoderDescription,
  EncoderOffer,
  Fraction,
  RateControl,
} from "../encoders/encoder.ts";
import { levelNumbers } from "../encoders/levels.ts";
import type { PictureGeometry, PictureTier, PlaneGeometry } from "../native/picture.ts";
import { RequestError } from "./errors.ts";

const { Codec, Profile, SourceTier } = vsockenc;

/** An Attach with valid numbers. Whether the planes lie inside their resources is checked after acquiring. */
export interface AttachRequest extends PictureGeometry {
  readonly buffer: number;
  /** The pixels arrive with each frame. */
  readonly inline: boolean;
  /** Where the pixels of its resources are. */
  readonly content: ResourceContent;
  /** `resource` is 0 in all planes of an inline buffer, and only there. */
  readonly planes: readonly (PlaneGeometry & { readonly resource: number })[];
}

/** Profiles by name, as on the wire. */
const PROFILE_NUMBERS = {
  h264: {
    "constrained-baseline": Profile.H264_CONSTRAINED_BASELINE,
    main: Profile.H264_MAIN,
    high: Profile.H264_HIGH,
  },
  h265: { main: Profile.H265_MAIN },
} as const satisfies { [Name in CodecName]: Record<(typeof PROFILES)[Name][number], vsockenc.Profile> };

/** Codecs by their numbers on the wire. */
const CODEC_NAMES: Partial<Record<vsockenc.Codec, CodecName>> = {
  [Codec.H264]: "h264",
  [Codec.H265]: "h265",
};

/** Rate controls by their numbers on the wire. */
const RATE_CONTROLS: readonly RateControl[] = ["cbr", "cbr", "vbr"];

/** Contents by their numbers on the wire. */
const CONTENTS: readonly ResourceContent[] = ["CONTENT_UNSPECIFIED", "PAGES", "RENDERED"];

function profileNumber(codec: CodecName, name: ProfileName): vsockenc.Profile {
  const numbers: Partial<Record<ProfileName, vsockenc.Profile>> = PROFILE_NUMBERS[codec];
  return numbers[name] ?? Profile.PROFILE_UNSPECIFIED;
}

/** An offer for Welcome. */
export function offerBody(offer: EncoderOffer): vsockenc.EncoderOffer.$Properties {
  const { codec, profiles } = offer;
  return {
    ...offer,
    codec: codec === "h264" ? Codec.H264 : Codec.H265,
    profiles: profiles.slice(0, LIMITS.MAX_PROFILES).map((name) => profileNumber(codec, name)),
  };
}

/** Tiers by name, as on the wire. */
export const TIERS = {
  resource: SourceTier.RESOURCE,
  "resource-gather": SourceTier.RESOURCE_GATHER,
  "resource-read": SourceTier.RESOURCE_READ,
  inline: SourceTier.INLINE,
} as const satisfies Record<PictureTier, vsockenc.SourceTier>;

/** The answer to a Configure. */
export function configuredBody(
  serial: number,
  description: EncoderDescription,
): Partial<vsockenc.Configured> & { serial: number } {
  return { ...description, serial, colorimetry: { ...description.colorimetry } };
}

function invalid(text: string): RequestError {
  return new RequestError("INVALID_VALUE", text);
}

function inRange(field: string, value: number, low: number, high: number, unit: string): number {
  if (value >= low && value <= high) return value;
  throw invalid(`${field} is ${value}; it must be between ${low} and ${high} ${unit}`);
}

function dimension(field: string, value: number): number {
  return inRange(field, value, LIMITS.MIN_DIMENSION, LIMITS.MAX_DIMENSION, "pixels");
}

function checkProfile(codec: CodecName, number: vsockenc.Profile): ProfileName | undefined {
  if (number === Profile.PROFILE_UNSPECIFIED) return undefined;
  const name = PROFILES[codec].find((one) => profileNumber(codec, one) === number);
  if (name !== undefined) return name;
  const known = PROFILES[codec].map((one) => `${profileNumber(codec, one)} (${one})`).join(", ");
  throw invalid(`profile is ${number}; expected for ${codec}: ${known}, or 0 for any`);
}

function checkLevels(codec: CodecName, levels: readonly number[]): readonly number[] {
  inRange("levels.length", levels.length, 0, LIMITS.MAX_LEVELS, "levels");
  const known = levelNumbers(codec);
  for (const [index, level] of levels.entries()) {
    if (!known.includes(level)) {
      throw invalid(`levels[${index}] is ${level}; expected for ${codec}: ${known.join(", ")}`);
    }
  }
  return levels;
}

/** @throws RequestError INVALID_VALUE */
export function checkConfigure(body: vsockenc.Configure): EncoderConfiguration {
  const codec = CODEC_NAMES[body.codec];
  if (codec === undefined) throw invalid(`codec is ${body.codec}; expected 1 (H.264) or 2 (H.265)`);
  const rateControl = RATE_CONTROLS[body.rateControl];
  if (rateControl === undefined) {
    throw invalid(`rate_control is ${body.rateControl}; expected 1 (CBR) or 2 (VBR)`);
  }
  const colorimetry = body.colorimetry ?? {};
  const codePoint = (field: string, value: number | null | undefined): number =>
    inRange(`colorimetry.${field}`, value ?? 0, 0, 255, "(ISO/IEC 23091-2)");
  const ratio = (field: string, numerator: number, denominator: number, absent: number): Fraction => {
    if (denominator === 0 && numerator === 0) return { numerator: absent, denominator: 1 };
    inRange(`${field}_denominator`, denominator, 1, 1_000_000, "");
    inRange(`${field}_numerator`, numerator, 0, 1_000_000, "");
    return { numerator, denominator };
  };
  return {
    codec,
    width: dimension("width", body.width),
    height: dimension("height", body.height),
    framerate: ratio("framerate", body.framerateNumerator, body.framerateDenominator, 0),
    profile: checkProfile(codec, body.profile),
    levels: checkLevels(codec, body.levels),
    rateControl,
    bitrateKbps: inRange("bitrate_kbps", body.bitrateKbps, 0, LIMITS.MAX_BITRATE_KBPS, "kbit/s"),
    keyframeInterval: inRange("keyframe_interval", body.keyframeInterval, 0, 0x7fffffff, "frames"),
    colorimetry: {
      primaries: codePoint("primaries", colorimetry.primaries),
      transfer: codePoint("transfer", colorimetry.transfer),
      matrix: codePoint("matrix", colorimetry.matrix),
      fullRange: colorimetry.fullRange ?? false,
    },
    pixelAspectRatio: ratio("par", body.parNumerator, body.parDenominator, 1),
  };
}

/** @throws RequestError INVALID_VALUE or UNSUPPORTED_MODIFIER */
export function checkAttach(body: vsockenc.Attach): AttachRequest {
  const width = dimension("width", body.width);
  const height = dimension("height", body.height);
  inRange("width * height", width * height, 1, LIMITS.MAX_PICTURE_PIXELS, "pixels");
  const content = CONTENTS[body.content];
  if (content === undefined)
    throw invalid(`content is ${body.content}; expected 0 to ${CONTENTS.length - 1}`);
  if (body.modifierHigh !== 0 || body.modifierLow !== 0) {
    const [high, low] = [body.modifierHigh, body.modifierLow].map((n) => n.toString(16).padStart(8, "0"));
    const text = `modifier is 0x${high}${low}; only linear (0) is supported`;
    throw new RequestError("UNSUPPORTED_MODIFIER", text);
  }
  if (body.planes.length < 1) throw invalid("planes is empty");
  inRange("planes.length", body.planes.length, 1, LIMITS.MAX_PLANES, "planes");
  const inline = (body.planes[0]?.resource ?? 0) === 0;
  const planes = body.planes.map((plane, index) => {
    const field = `planes[${index}]`;
    const [low, high] = inline ? [0, 0] : [1, 0xffffffff];
    const resource = inRange(`${field}.resource`, plane.resource ?? 0, low, high, "");
    const offset = inRange(`${field}.offset`, plane.offset ?? 0, 0, Number.MAX_SAFE_INTEGER, "bytes");
    const stride = inRange(`${field}.stride`, plane.stride ?? 0, 1, 0x7fffffff, "bytes");
    return { resource, offset, stride };
  });
  const { buffer, fourcc } = body;
  return { buffer, inline, content, width, height, fourcc, planes, visible: checkVisible(body) };
}

function checkVisible({ visible, width, height }: vsockenc.Attach): AttachRequest["visible"] {
  if (visible === null || visible === undefined) return { x: 0, y: 0, width, height };
  const x = visible.x ?? 0;
  const y = visible.y ?? 0;
  const shownWidth = dimension("visible.width", visible.width ?? 0);
  const shownHeight = dimension("visible.height", visible.height ?? 0);
  if (x + shownWidth > width || y + shownHeight > height) {
    throw invalid(`visible is ${shownWidth}x${shownHeight}+${x}+${y}, outside ${width}x${height}`);
  }
  return { x, y, width: shownWidth, height: shownHeight };
}
