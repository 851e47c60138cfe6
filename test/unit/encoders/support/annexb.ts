/** Just enough of H.264's syntax (Rec. ITU-T H.264, 7.3 and annex E) to check what an encoder has written. */

export const NAL = { slice: 1, idr: 5, sei: 6, sps: 7, pps: 8 } as const;

/** The NAL units of an Annex B stream, without start codes. */
export function nalUnits(stream: Uint8Array): Uint8Array[] {
  const starts: number[] = [];
  for (let i = 0; i + 2 < stream.length; i++) {
    if (stream[i] === 0 && stream[i + 1] === 0 && stream[i + 2] === 1) starts.push(i + 3);
  }
  return starts.map((start, index) => {
    const next = starts[index + 1];
    let end = next === undefined ? stream.length : next - 3;
    while (end > start && stream[end - 1] === 0) end--;
    return stream.subarray(start, end);
  });
}

export function nalTypes(stream: Uint8Array): number[] {
  return nalUnits(stream).map((unit) => (unit[0] ?? 0) & 0x1f);
}

/** Bits of a NAL unit's payload, emulation prevention removed. */
class BitReader {
  readonly #bytes: number[] = [];
  #position = 0;

  constructor(unit: Uint8Array) {
    let zeros = 0;
    for (const byte of unit.subarray(1)) {
      if (zeros >= 2 && byte === 3) {
        zeros = 0;
        continue;
      }
      zeros = byte === 0 ? zeros + 1 : 0;
      this.#bytes.push(byte);
    }
  }

  u(bits: number): number {
    let value = 0;
    for (let i = 0; i < bits; i++) {
      const byte = this.#bytes[this.#position >> 3];
      if (byte === undefined) throw new Error("the parameter set ends early");
      value = value * 2 + ((byte >> (7 - (this.#position & 7))) & 1);
      this.#position++;
    }
    return value;
  }

  flag(): boolean {
    return this.u(1) === 1;
  }

  ue(): number {
    let zeros = 0;
    while (this.u(1) === 0) zeros++;
    return 2 ** zeros - 1 + this.u(zeros);
  }
}

export interface Sps {
  readonly profile: number;
  readonly level: number;
  /** After cropping. */
  readonly width: number;
  readonly height: number;
  readonly aspect: readonly [number, number] | undefined;
  readonly fullRange: boolean | undefined;
  readonly primaries: number | undefined;
  readonly transfer: number | undefined;
  readonly matrix: number | undefined;
  readonly chromaLocation: number | undefined;
  /** time_scale / (2 · num_units_in_tick): frames a second. */
  readonly rate: number | undefined;
  readonly maxReorderFrames: number | undefined;
}

/** Parses the sequence parameter set of baseline, main and high profile streams without scaling matrices. */
export function parseSps(unit: Uint8Array): Sps {
  const bits = new BitReader(unit);
  const profile = bits.u(8);
  bits.u(8);
  const level = bits.u(8);
  bits.ue();
  if (profile >= 100) {
    if (bits.ue() === 3) bits.u(1);
    bits.ue();
    bits.ue();
    bits.u(1);
    if (bits.flag()) throw new Error("scaling matrices are not parsed");
  }
  bits.ue();
  const orderType = bits.ue();
  if (orderType === 0) bits.ue();
  else if (orderType === 1) throw new Error("pic_order_cnt_type 1 is not parsed");
  bits.ue();
  bits.u(1);
  const columns = bits.ue() + 1;
  const rows = bits.ue() + 1;
  if (!bits.flag()) throw new Error("the stream is interlaced");
  bits.u(1);
  const crop = bits.flag() ? [bits.ue(), bits.ue(), bits.ue(), bits.ue()] : [0, 0, 0, 0];
  const [left = 0, right = 0, top = 0, bottom = 0] = crop;
  const size = { width: columns * 16 - 2 * (left + right), height: rows * 16 - 2 * (top + bottom) };
  return { profile, level, ...size, ...parseVui(bits) };
}

type Vui = Omit<Sps, "profile" | "level" | "width" | "height">;

const ASPECTS: readonly (readonly [number, number])[] = [
  [0, 0],
  [1, 1],
  [12, 11],
  [10, 11],
  [16, 11],
  [40, 33],
  [24, 11],
  [20, 11],
  [32, 11],
  [80, 33],
  [18, 11],
  [15, 11],
  [64, 33],
  [160, 99],
  [4, 3],
  [3, 2],
  [2, 1],
];

function parseVui(bits: BitReader): Vui {
  const vui: { -readonly [Key in keyof Vui]: Vui[Key] } = {
    aspect: undefined,
    fullRange: undefined,
    primaries: undefined,
    transfer: undefined,
    matrix: undefined,
    chromaLocation: undefined,
    rate: undefined,
    maxReorderFrames: undefined,
  };
  if (!bits.flag()) return vui;
  if (bits.flag()) {
    const indicator = bits.u(8);
    vui.aspect = indicator === 255 ? [bits.u(16), bits.u(16)] : ASPECTS[indicator];
  }
  if (bits.flag()) bits.u(1);
  if (bits.flag()) {
    bits.u(3);
    vui.fullRange = bits.flag();
    if (bits.flag()) {
      vui.primaries = bits.u(8);
      vui.transfer = bits.u(8);
      vui.matrix = bits.u(8);
    }
  }
  if (bits.flag()) {
    vui.chromaLocation = bits.ue();
    bits.ue();
  }
  if (bits.flag()) {
    const ticks = bits.u(32);
    vui.rate = bits.u(32) / (2 * ticks);
    bits.u(1);
  }
  const hasNalHrd = bits.flag();
  const hasVclHrd = !hasNalHrd && bits.flag();
  if (hasNalHrd || hasVclHrd) throw new Error("HRD parameters are not parsed");
  bits.u(1);
  if (bits.flag()) {
    bits.u(1);
    for (let i = 0; i < 4; i++) bits.ue();
    vui.maxReorderFrames = bits.ue();
    bits.ue();
  }
  return vui;
}

/** NAL unit types of H.265 (Rec. ITU-T H.265, table 7-1) that an encoder without reordering writes. */
export const HEVC_NAL = {
  trail: 1,
  idrWithLeading: 19,
  idr: 20,
  vps: 32,
  sps: 33,
  pps: 34,
  sei: 39,
} as const;

export function hevcNalTypes(stream: Uint8Array): number[] {
  return nalUnits(stream).map((unit) => ((unit[0] ?? 0) >> 1) & 0x3f);
}
