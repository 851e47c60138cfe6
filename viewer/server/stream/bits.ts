/** The common parts of H.264 and H.265 parameter sets: Annex B NAL units, emulation prevention, Exp-Golomb codes. */

/** The stream's parameter set is missing or invalid; the message names the field. */
export class StreamDescriptionError extends Error {
  override readonly name = "StreamDescriptionError";
}

/** A valid sequence parameter set has a few hundred bytes at most. */
const MAX_PARAMETER_SET_BYTES = 4096;
const START_CODE_BYTES = 3;

/** The kinds of a codec's NAL units, as far as they are looked at. */
export interface NalTypes {
  /** The type, from the first byte of the NAL unit's header. */
  typeOf(header: number): number;
  readonly parameterSet: number;
  readonly slices: readonly [first: number, last: number];
}

/** Offset of the next 00 00 01; the length if there is none. */
function findStartCode(data: Uint8Array, from: number): number {
  for (let at = from; at + 2 < data.length; at += 1) {
    if (data[at + 2] === 1 && data[at + 1] === 0 && data[at] === 0) return at;
  }
  return data.length;
}

/**
 * The first parameter set of a kind before the first slice, without its start code and without emulation prevention
 * (H.264 7.4.1, H.265 7.4.2.1).
 *
 * @param data an access unit, Annex B; the slices, which are most of the bytes, are not searched
 * @throws StreamDescriptionError when there is none, or it is too long
 */
export function findParameterSet(data: Uint8Array, { typeOf, parameterSet, slices }: NalTypes): Uint8Array {
  for (let at = findStartCode(data, 0); at < data.length; ) {
    const begin = at + START_CODE_BYTES;
    const type = typeOf(data[begin] ?? 0);
    if (type >= slices[0] && type <= slices[1]) break;
    const most = type === parameterSet ? begin + MAX_PARAMETER_SET_BYTES + START_CODE_BYTES : data.length;
    at = findStartCode(data.subarray(0, most), begin);
    if (type !== parameterSet) continue;
    if (at - begin > MAX_PARAMETER_SET_BYTES)
      throw new StreamDescriptionError(
        `the sequence parameter set has more than ${MAX_PARAMETER_SET_BYTES} bytes`,
      );
    return withoutEmulationPrevention(data.subarray(begin, at));
  }
  throw new StreamDescriptionError("the key frame has no sequence parameter set before it");
}

function withoutEmulationPrevention(bytes: Uint8Array): Uint8Array {
  return bytes.filter((byte, at) => !(byte === 3 && at >= 2 && bytes[at - 1] === 0 && bytes[at - 2] === 0));
}

/** Reads the fields of a parameter set. Every read may throw a StreamDescriptionError that names the field. */
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
