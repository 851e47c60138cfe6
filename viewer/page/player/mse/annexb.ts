/** Splits an H.264 byte stream (Rec. ITU-T H.264, Annex B) and makes MP4 samples of it: NAL units after their lengths. */

export const NAL_SPS = 7;
export const NAL_PPS = 8;
const NAL_ACCESS_UNIT_DELIMITER = 9;

/** The NAL units between the start codes 00 00 01. */
export function splitNalUnits(data: Uint8Array): Uint8Array[] {
  const units: Uint8Array[] = [];
  let start = -1;
  for (let i = 0; i + 2 < data.length; i++) {
    if (data[i] !== 0 || data[i + 1] !== 0 || data[i + 2] !== 1) continue;
    if (start >= 0) units.push(trimmed(data, start, i));
    start = i + 3;
    i += 2;
  }
  if (start >= 0) units.push(trimmed(data, start, data.length));
  return units.filter(({ length }) => length > 0);
}

/** Zeros at a unit's end belong to the next start code, because a NAL unit never ends with a zero (7.4.1). */
function trimmed(data: Uint8Array, start: number, end: number): Uint8Array {
  let last = end;
  while (last > start && data[last - 1] === 0) last--;
  return data.subarray(start, last);
}

export function nalType(unit: Uint8Array): number {
  return (unit[0] ?? 0) & 0x1f;
}

/** An access unit as an MP4 sample, without parameter sets, which are in the description, and delimiters. */
export function toSample(units: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const kept = units.filter((unit) => ![NAL_SPS, NAL_PPS, NAL_ACCESS_UNIT_DELIMITER].includes(nalType(unit)));
  const sample = new Uint8Array(kept.reduce((sum, { length }) => sum + 4 + length, 0));
  const view = new DataView(sample.buffer);
  let offset = 0;
  for (const unit of kept) {
    view.setUint32(offset, unit.length);
    sample.set(unit, offset + 4);
    offset += 4 + unit.length;
  }
  return sample;
}
