/** What H.264 and H.265 share in their parameter sets: NAL units in Annex B, emulation prevention, Exp-Golomb codes. */

/** The stream does not say what it is, or says it wrongly; the message names the field. */
export class StreamDescriptionError extends Error {
  override readonly name = "StreamDescriptionError";
}

/** A sequence parameter set has at most a few hundred bytes; what is longer is none. */
const MAX_PARAMETER_SET_BYTES = 4096;
const START_CODE_BYTES = 3;

/** Where the next 00 00 01 begins; the length if there is none. */
function findStartCode(data: Uint8Array, from: number): number {
  for (let at = from; at + 2 < data.length; at += 1) {
    if (data[at + 2] === 1 && data[at + 1] === 0 && data[at] === 0) return at;
  }
  return data.length;
}

/**
 * The first parameter set of a kind ahead of the first slice, without its start code and with emulation prevention
 * removed (H.264 7.4.1, H.265 7.4.2.1).
 *
 * @param data an access unit, Annex B
 * @param kindOf tells a NAL unit by its first byte; the slices, which are most of the bytes, are not searched
 * @throws StreamDescriptionError when there is none, or it is too long
 */
export function findParameterSet(
  data: Uint8Array,
  kindOf: (header: number) => "wanted" | "slice" | "other",
): Uint8Array {
  for (let at = findStartCode(data, 0); at < data.length; ) {
    const begin = at + START_CODE_BYTES;
    const kind = kindOf(data[begin] ?? 0);
    if (kind === "slice") break;
    const searched =
      kind === "wanted" ? data.subarray(0, begin + MAX_PARAMETER_SET_BYTES + START_CODE_BYTES) : data;
    at = findStartCode(searched, begin);
    if (kind !== "wanted") continue;
    if (at - begin > MAX_PARAMETER_SET_BYTES)
      throw new StreamDescriptionError(
        `the sequence parameter set has more than ${MAX_PARAMETER_SET_BYTES} bytes`,
      );
    return withoutEmulationPrevention(data.subarray(begin, at));
  }
  throw new StreamDescriptionError("there is no sequence parameter set before the key frame");
}

function withoutEmulationPrevention(bytes: Uint8Array): Uint8Array {
  return bytes.filter((byte, at) => !(byte === 3 && at >= 2 && bytes[at - 1] === 0 && bytes[at - 2] === 0));
}

/** Reads fields of a parameter set; each may throw StreamDescriptionError, which names the field. */
export class BitReader {
  readonly #bytes: Uint8Array;
  #position = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** u(n), n ≤ 32 */
  bits(count: number, field: string): number {
    let value = 0;
    for (let i = 0; i < count; i += 1) {
      const byte = this.#bytes[this.#position >> 3];
      if (byte === undefined)
        throw new StreamDescriptionError(`the sequence parameter set ends within ${field}`);
      value = value * 2 + ((byte >> (7 - (this.#position & 7))) & 1);
      this.#position += 1;
    }
    return value;
  }

  flag(field: string): boolean {
    return this.bits(1, field) === 1;
  }

  skip(count: number, field: string): void {
    for (let left = count; left > 0; left -= 32) this.bits(Math.min(left, 32), field);
  }

  /** ue(v), at most `most` */
  unsigned(field: string, most: number): number {
    const value = this.#golomb(field);
    if (value > most) throw new StreamDescriptionError(`${field} is ${value}, more than ${most}`);
    return value;
  }

  /** se(v) */
  signed(field: string): number {
    const code = this.#golomb(field);
    return code % 2 === 1 ? (code + 1) / 2 : -code / 2;
  }

  #golomb(field: string): number {
    let zeros = 0;
    while (!this.flag(field)) {
      zeros += 1;
      if (zeros > 31) throw new StreamDescriptionError(`${field} has more than 32 bits`);
    }
    return 2 ** zeros - 1 + this.bits(zeros, field);
  }
}

/** A size before cropping, and what is cropped, in pixels. */
export interface CodedSize {
  readonly width: number;
  readonly height: number;
  readonly cropWidth: number;
  readonly cropHeight: number;
}

/** @throws StreamDescriptionError when nothing is left, or more than `most` pixels in a direction */
export function croppedSize(coded: CodedSize, most: number): { width: number; height: number } {
  const width = coded.width - coded.cropWidth;
  const height = coded.height - coded.cropHeight;
  if (width < 1 || height < 1)
    throw new StreamDescriptionError(`nothing is left of ${coded.width}x${coded.height} after cropping`);
  if (width > most || height > most)
    throw new StreamDescriptionError(`a picture of ${width}x${height} is larger than ${most} pixels`);
  return { width, height };
}
