/**
 * Fragmented MP4 with one H.264 track, for Media Source Extensions (ISO/IEC 14496-12, 14496-15; W3C "ISO BMFF Byte Stream
 * Format"). Times are in microseconds. The duration 0 marks a live stream, so that browsers do not buffer first.
 *
 * No library fits: mediabunny and mp4-muxer end a fragment at key frames only, jmuxer drives the <video> itself and loses
 * the units' times, mp4box adds 180 kB; this file adds 2 kB.
 */

const TIMESCALE = 1_000_000;
const TRACK = 1;
/** sample_depends_on = 2: a key frame depends on no other. */
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
  /** NAL units, each after its length. */
  readonly data: Uint8Array;
}

const u16 = (...values: number[]): number[] =>
  values.flatMap((value) => [(value >>> 8) & 0xff, value & 0xff]);
const u32 = (...values: number[]): number[] => values.flatMap((value) => u16(value >>> 16, value & 0xffff));
const u64 = (value: number): number[] => u32(Math.floor(value / 2 ** 32), value % 2 ** 32);
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

const UNITY_MATRIX = u32(0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000);

/** ftyp and moov, which precede the first fragment. */
export function initialization(track: Track): Uint8Array<ArrayBuffer> {
  const size = u32(track.width * 0x10000, track.height * 0x10000);
  const rateAndVolume = [...u32(0x10000), ...u16(0x100)];
  const undetermined = u16(0x55c4, 0); // language "und", 5 bits a letter
  const ftyp = box("ftyp", text("isom"), u32(0x200), text("isomiso6avc1"));
  const times = u32(0, 0, TIMESCALE, 0);
  const end = [...zeros(24), ...u32(TRACK + 1)];
  const mvhd = fullBox("mvhd", 0, 0, times, rateAndVolume, zeros(10), UNITY_MATRIX, end);
  const tkhd = fullBox("tkhd", 0, 7, u32(0, 0, TRACK, 0, 0), zeros(16), UNITY_MATRIX, size);
  const mdhd = fullBox("mdhd", 0, 0, times, undetermined);
  const hdlr = fullBox("hdlr", 0, 0, zeros(4), text("vide"), zeros(12), text("Video\0"));
  const dinf = box("dinf", fullBox("dref", 0, 0, u32(1), fullBox("url ", 0, 1)));
  const stbl = box(
    "stbl",
    fullBox("stsd", 0, 0, u32(1), sampleEntry(track)),
    fullBox("stts", 0, 0, u32(0)),
    fullBox("stsc", 0, 0, u32(0)),
    fullBox("stsz", 0, 0, u32(0, 0)),
    fullBox("stco", 0, 0, u32(0)),
  );
  const minf = box("minf", fullBox("vmhd", 0, 1, zeros(8)), dinf, stbl);
  const trak = box("trak", tkhd, box("mdia", mdhd, hdlr, minf));
  const trex = fullBox("trex", 0, 0, u32(TRACK, 1, 0, 0, 0));
  return concat([ftyp, box("moov", mvhd, trak, box("mvex", trex))]);
}

function sampleEntry({ width, height, sps, pps }: Track): Uint8Array {
  const lengthsOf4Bytes = 0xff;
  const profileAndLevel = sps.subarray(1, 4);
  const oneSps = [0xe1, ...u16(sps.length)];
  const onePps = [1, ...u16(pps.length)];
  const avcC = box("avcC", [1], profileAndLevel, [lengthsOf4Bytes], oneSps, sps, onePps, pps);
  const reference = [...zeros(6), ...u16(1)];
  const dpi72 = u32(0x480000, 0x480000);
  const frameCount = u16(0, 0, 1);
  const depth = u16(0x18, 0xffff);
  return box("avc1", reference, zeros(16), u16(width, height), dpi72, frameCount, zeros(32), depth, avcC);
}

/** moof and mdat with one access unit. */
export function fragment({ sequence, timeUs, durationUs, key, data }: Sample): Uint8Array<ArrayBuffer> {
  const mfhd = fullBox("mfhd", 0, 0, u32(sequence));
  const defaultBaseIsMoof = 0x20000;
  const tfhd = fullBox("tfhd", 0, defaultBaseIsMoof, u32(TRACK));
  const tfdt = fullBox("tfdt", 1, 0, u64(timeUs));
  const flags = key ? SYNC_SAMPLE : DELTA_SAMPLE;
  // The flags 0x701: data offset, duration, size and flags are present.
  const trun = (offset: number): Uint8Array =>
    fullBox("trun", 0, 0x701, u32(1, offset, durationUs, data.length, flags));
  const moof = (offset: number): Uint8Array => box("moof", mfhd, box("traf", tfhd, tfdt, trun(offset)));
  const headBytes = moof(0).length + 8;
  return concat([moof(headBytes), box("mdat", data)]);
}
