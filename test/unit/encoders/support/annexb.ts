/** NAL units of Annex B streams, by type. */

/** Types of H.264 (Rec. ITU-T H.264, table 7-1). */
export const NAL = { slice: 1, idr: 5, sei: 6, sps: 7, pps: 8 } as const;
/** Types of H.265 (Rec. ITU-T H.265, table 7-1) that an encoder without reordering writes. */
export const HEVC_NAL = {
  trail: 1,
  idrWithLeading: 19,
  idr: 20,
  vps: 32,
  sps: 33,
  pps: 34,
  sei: 39,
} as const;

/** The first byte of each NAL unit. */
function headers(stream: Uint8Array): number[] {
  const found: number[] = [];
  for (let i = 0; i + 3 < stream.length; i++) {
    if (stream[i] === 0 && stream[i + 1] === 0 && stream[i + 2] === 1) found.push(stream[i + 3] ?? 0);
  }
  return found;
}

export function nalTypes(stream: Uint8Array): number[] {
  return headers(stream).map((header) => header & 0x1f);
}

export function hevcNalTypes(stream: Uint8Array): number[] {
  return headers(stream).map((header) => (header >> 1) & 0x3f);
}
