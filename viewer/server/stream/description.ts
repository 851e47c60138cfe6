/**
 * Reads the codec string (RFC 6381 section 3.3; ISO/IEC 14496-15 annex E for H.265) and the picture's size from a stream's
 * sequence parameter set.
 *
 * The stream may come from a hostile guest, so every read is bounded and every field is checked. No small library reads
 * both codecs' parameter sets.
 */
import type { CodecName } from "../../../common/codec.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { BitReader, findParameterSet, type NalTypes, StreamDescriptionError } from "./bits.ts";

export { StreamDescriptionError } from "./bits.ts";

export interface StreamDescription {
  /** E.g. "avc1.64001F", "hev1.1.6.L93.90". */
  readonly codec: string;
  /** Of the cropped picture, in pixels. */
  readonly width: number;
  readonly height: number;
}

/** Larger than any size that passes the later check, small enough that no product loses digits. */
const MAX_GOLOMB_SIZE = 65_536;

/**
 * Describes the stream that starts with a key access unit.
 *
 * @param data Annex B, with its parameter sets
 * @throws StreamDescriptionError
 */
export function describeStream(codec: CodecName, data: Uint8Array): StreamDescription {
  return codec === "h264" ? describeH264(data) : describeH265(data);
}

const hex = (value: number): string => value.toString(16).toUpperCase();

/** Luma pixels per chroma sample. */
interface Subsampling {
  readonly horizontal: number;
  readonly vertical: number;
}

const YUV420: Subsampling = { horizontal: 2, vertical: 2 };
const UNSAMPLED: Subsampling = { horizontal: 1, vertical: 1 };
/** By chroma_format_idc (H.264 table 6-1, H.265 table 6-1). */
const SUBSAMPLING = [UNSAMPLED, YUV420, { horizontal: 2, vertical: 1 }, UNSAMPLED] as const;

function readChromaFormat(bits: BitReader): Subsampling & { readonly idc: number } {
  const idc = bits.unsigned("chroma_format_idc", 3);
  if (idc === 3) bits.flag("separate_colour_plane_flag");
  return { idc, ...(SUBSAMPLING[idc] ?? UNSAMPLED) };
}

/**
 * Reads an optional cropping rectangle, in chroma samples.
 *
 * @returns the size after cropping
 * @throws StreamDescriptionError when it is empty, or larger than MAX_DIMENSION
 */
function readCroppedSize(
  bits: BitReader,
  field: string,
  [codedWidth, codedHeight]: readonly [width: number, height: number],
  unit: Subsampling,
): { width: number; height: number } {
  const read = (side: string): number => bits.unsigned(`${field}_${side}_offset`, 16 * MAX_GOLOMB_SIZE);
  let [width, height] = [codedWidth, codedHeight];
  if (bits.flag(`${field}_flag`)) {
    width -= unit.horizontal * (read("left") + read("right"));
    height -= unit.vertical * (read("top") + read("bottom"));
  }
  if (width < 1 || height < 1)
    throw new StreamDescriptionError(`nothing is left of ${codedWidth}x${codedHeight} after cropping`);
  if (width > LIMITS.MAX_DIMENSION || height > LIMITS.MAX_DIMENSION)
    throw new StreamDescriptionError(
      `a picture of ${width}x${height} is larger than ${LIMITS.MAX_DIMENSION} pixels`,
    );
  return { width, height };
}

const H264: NalTypes = { typeOf: (header) => header & 0x1f, parameterSet: 7, slices: [1, 5] };
/** profile_idc values that are followed by chroma_format_idc (H.264 7.3.2.1.1). */
const H264_HIGH_PROFILES = new Set([100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135]);

/** seq_parameter_set_data(), H.264 7.3.2.1.1 */
function describeH264(data: Uint8Array): StreamDescription {
  const bits = new BitReader(findParameterSet(data, H264).subarray(1));
  const profile = bits.bits(8, "profile_idc");
  const constraints = bits.bits(8, "constraint_set_flags");
  const level = bits.bits(8, "level_idc");
  bits.unsigned("seq_parameter_set_id", 31);
  const chroma = H264_HIGH_PROFILES.has(profile) ? readH264Chroma(bits) : YUV420;
  bits.unsigned("log2_max_frame_num_minus4", 12);
  skipPictureOrderCount(bits);
  bits.unsigned("max_num_ref_frames", 16);
  bits.flag("gaps_in_frame_num_value_allowed_flag");
  const width = 16 * (1 + bits.unsigned("pic_width_in_mbs_minus1", MAX_GOLOMB_SIZE));
  const mapUnits = 1 + bits.unsigned("pic_height_in_map_units_minus1", MAX_GOLOMB_SIZE);
  const framesOnly = bits.flag("frame_mbs_only_flag");
  if (!framesOnly) bits.flag("mb_adaptive_frame_field_flag");
  bits.flag("direct_8x8_inference_flag");
  const fields = framesOnly ? 1 : 2;
  const cropUnit = { horizontal: chroma.horizontal, vertical: chroma.vertical * fields };
  const size = readCroppedSize(bits, "frame_cropping", [width, 16 * mapUnits * fields], cropUnit);
  const numbers = [profile, constraints, level].map((number) => hex(number).padStart(2, "0"));
  return { codec: `avc1.${numbers.join("")}`, ...size };
}

function readH264Chroma(bits: BitReader): Subsampling {
  const chroma = readChromaFormat(bits);
  bits.unsigned("bit_depth_luma_minus8", 6);
  bits.unsigned("bit_depth_chroma_minus8", 6);
  bits.flag("qpprime_y_zero_transform_bypass_flag");
  if (bits.flag("seq_scaling_matrix_present_flag")) {
    const lists = chroma.idc === 3 ? 12 : 8;
    for (let list = 0; list < lists; list += 1) {
      if (bits.flag("seq_scaling_list_present_flag")) skipScalingList(bits, list < 6 ? 16 : 64);
    }
  }
  return chroma;
}

/** scaling_list(), H.264 7.3.2.1.1.1 */
function skipScalingList(bits: BitReader, size: number): void {
  let scale = 8;
  for (let i = 0; i < size && scale !== 0; i += 1) {
    scale = (((scale + bits.signed("delta_scale")) % 256) + 256) % 256;
  }
}

function skipPictureOrderCount(bits: BitReader): void {
  const type = bits.unsigned("pic_order_cnt_type", 2);
  if (type === 0) bits.unsigned("log2_max_pic_order_cnt_lsb_minus4", 12);
  if (type !== 1) return;
  bits.flag("delta_pic_order_always_zero_flag");
  bits.signed("offset_for_non_ref_pic");
  bits.signed("offset_for_top_to_bottom_field");
  const cycle = bits.unsigned("num_ref_frames_in_pic_order_cnt_cycle", 255);
  for (let i = 0; i < cycle; i += 1) bits.signed("offset_for_ref_frame");
}

const H265: NalTypes = { typeOf: (header) => (header >> 1) & 0x3f, parameterSet: 33, slices: [0, 31] };
/** NAL unit header (H.265 7.3.1.2). */
const H265_HEADER_BYTES = 2;

/** seq_parameter_set_rbsp(), H.265 7.3.2.2.1 */
function describeH265(data: Uint8Array): StreamDescription {
  const bits = new BitReader(findParameterSet(data, H265).subarray(H265_HEADER_BYTES));
  bits.bits(4, "sps_video_parameter_set_id");
  const subLayers = bits.bits(3, "sps_max_sub_layers_minus1");
  bits.flag("sps_temporal_id_nesting_flag");
  const codec = readProfileTierLevel(bits, subLayers);
  bits.unsigned("sps_seq_parameter_set_id", 15);
  const chroma = readChromaFormat(bits);
  const width = bits.unsigned("pic_width_in_luma_samples", MAX_GOLOMB_SIZE);
  const height = bits.unsigned("pic_height_in_luma_samples", MAX_GOLOMB_SIZE);
  return { codec, ...readCroppedSize(bits, "conformance_window", [width, height], chroma) };
}

/** profile_tier_level(1, subLayers), H.265 7.3.3, as a codec string (ISO/IEC 14496-15 annex E.3). */
function readProfileTierLevel(bits: BitReader, subLayers: number): string {
  const space = ["", "A", "B", "C"][bits.bits(2, "general_profile_space")] ?? "";
  const tier = bits.flag("general_tier_flag") ? "H" : "L";
  const profile = bits.bits(5, "general_profile_idc");
  let compatibility = 0;
  for (let i = 0; i < 32; i += 1) {
    if (bits.flag("general_profile_compatibility_flag")) compatibility += 2 ** i;
  }
  const constraints = Array.from({ length: 6 }, () => bits.bits(8, "general_constraint_flags"));
  const level = bits.bits(8, "general_level_idc");
  const present = Array.from({ length: subLayers }, () => ({
    profile: bits.flag("sub_layer_profile_present_flag"),
    level: bits.flag("sub_layer_level_present_flag"),
  }));
  if (subLayers > 0) bits.skip(2 * (8 - subLayers), "reserved_zero_2bits");
  for (const layer of present) {
    if (layer.profile) bits.skip(88, "sub_layer_profile");
    if (layer.level) bits.skip(8, "sub_layer_level_idc");
  }
  // Trailing zero bytes are omitted.
  while (constraints.at(-1) === 0) constraints.pop();
  const fields = [`hev1.${space}${profile}`, hex(compatibility), `${tier}${level}`];
  return [...fields, ...constraints.map(hex)].join(".");
}
