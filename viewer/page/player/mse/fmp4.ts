/**
 * Fragmented MP4 of one H.264 track, as Media Source Extensions take it (ISO/IEC 14496-12, 14496-15; W3C "ISO BMFF Byte
 * Stream Format"). Times are in microseconds. A duration of 0 in the head says that the stream is live, so that
 * browsers show what they have instead of gathering a reserve first.
 */

const TIMESCALE = 1_000_000;
const TRACK = 1;
/** sample_depends_on = 2: a key frame needs no other. */
const SYNC_SAMPLE = 0x02000000;
/** sample_depends_on = 1, sample_is_non_sync_sample = 1. */
const DELTA_SAMPLE = 0x01010000;

type Part = Uint8Array | readonly number[];

export interface Track {
  readonly width: number;
  readonly height: number;
  readonly sps: Uint8Array;
  readonly pps: Uint8Array;
}

export interface Sample {
  /** Counts fragments from 1. */
  readonly sequence: number;
  readonly timeUs: number;
  readonly durationUs: number;
  readonly key: boolean;
  /** NAL units behind their lengths. */
  readonly data: Uint8Array;
}

const u16 = (value: number): number[] => [(value >>> 8) & 0xff, value & 0xff];
const u32 = (value: number): number[] => [...u16(value >>> 16), ...u16(value & 0xffff)];
const u64 = (value: number): number[] => [...u32(Math.floor(value / 2 ** 32)), ...u32(value % 2 ** 32)];
const zeros = (count: number): number[] => new Array<number>(count).fill(0);
const text = (value: string): number[] => Array.from(value, (letter) => letter.charCodeAt(0));

function concat(parts: readonly Part[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

function box(type: string, ...parts: readonly Part[]): Uint8Array<ArrayBuffer> {
  const size = parts.reduce((sum, { length }) => sum + length, 8);
  return concat([u32(size), text(type), ...parts]);
}

/** A box with a version and 24 flags. */
function fullBox(type: string, version: number, flags: number, ...parts: readonly Part[]): Uint8Array {
  return box(type, u32(version * 2 ** 24 + flags), ...parts);
}

const UNITY_MATRIX = [0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000].flatMap(u32);

/** ftyp and moov: what a decoder has to know before the first fragment. */
export function initialization(track: Track): Uint8Array<ArrayBuffer> {
  const { width, height } = track;
  const ftyp = box("ftyp", text("isom"), u32(0x200), text("isom"), text("iso6"), text("avc1"));
  const mvhd = fullBox("mvhd", 0, 0, [
    ...u32(0),
    ...u32(0),
    ...u32(TIMESCALE),
    ...u32(0),
    ...u32(0x10000), // rate 1
    ...u16(0x100), // volume 1
    ...zeros(10),
    ...UNITY_MATRIX,
    ...zeros(24),
    ...u32(TRACK + 1),
  ]);
  const tkhd = fullBox("tkhd", 0, 7, [
    ...zeros(8),
    ...u32(TRACK),
    ...zeros(4),
    ...u32(0),
    ...zeros(16),
    ...UNITY_MATRIX,
    ...u32(width * 0x10000),
    ...u32(height * 0x10000),
  ]);
  const undetermined = 0x55c4; // language "und", 5 bits a letter
  const mdhd = fullBox("mdhd", 0, 0, [...zeros(8), ...u32(TIMESCALE), ...u32(0), ...u16(undetermined), 0, 0]);
  const hdlr = fullBox("hdlr", 0, 0, zeros(4), text("vide"), zeros(12), text("Video\0"));
  const dinf = box("dinf", fullBox("dref", 0, 0, u32(1), fullBox("url ", 0, 1)));
  const stbl = box(
    "stbl",
    fullBox("stsd", 0, 0, u32(1), sampleEntry(track)),
    fullBox("stts", 0, 0, u32(0)),
    fullBox("stsc", 0, 0, u32(0)),
    fullBox("stsz", 0, 0, u32(0), u32(0)),
    fullBox("stco", 0, 0, u32(0)),
  );
  const minf = box("minf", fullBox("vmhd", 0, 1, zeros(8)), dinf, stbl);
  const trak = box("trak", tkhd, box("mdia", mdhd, hdlr, minf));
  const trex = fullBox("trex", 0, 0, u32(TRACK), u32(1), u32(0), u32(0), u32(0));
  return concat([ftyp, box("moov", mvhd, trak, box("mvex", trex))]);
}

function sampleEntry({ width, height, sps, pps }: Track): Uint8Array {
  const avcC = box(
    "avcC",
    [1, sps[1] ?? 0, sps[2] ?? 0, sps[3] ?? 0, 0xff], // lengths of 4 bytes
    [0xe1, ...u16(sps.length)], // one SPS
    sps,
    [1, ...u16(pps.length)],
    pps,
  );
  const head = [
    ...zeros(6),
    ...u16(1),
    ...zeros(16),
    ...u16(width),
    ...u16(height),
    ...u32(0x480000), // 72 dpi
    ...u32(0x480000),
    ...zeros(4),
    ...u16(1),
    ...zeros(32),
    ...u16(0x18),
    ...u16(0xffff),
  ];
  return box("avc1", head, avcC);
}

/** moof and mdat with one access unit. */
export function fragment({ sequence, timeUs, durationUs, key, data }: Sample): Uint8Array<ArrayBuffer> {
  const mfhd = fullBox("mfhd", 0, 0, u32(sequence));
  const defaultBaseIsMoof = 0x20000;
  const tfhd = fullBox("tfhd", 0, defaultBaseIsMoof, u32(TRACK));
  const tfdt = fullBox("tfdt", 1, 0, u64(timeUs));
  // Data offset, duration, size and flags are present.
  const run = (offset: number): Uint8Array =>
    fullBox("trun", 0, 0x701, [
      ...u32(1),
      ...u32(offset),
      ...u32(durationUs),
      ...u32(data.length),
      ...u32(key ? SYNC_SAMPLE : DELTA_SAMPLE),
    ]);
  const moof = (offset: number): Uint8Array => box("moof", mfhd, box("traf", tfhd, tfdt, run(offset)));
  const headBytes = moof(0).length + 8;
  return concat([moof(headBytes), box("mdat", data)]);
}
