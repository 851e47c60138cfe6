/** The fuzzers' first inputs: the vectors, in each target's own form. */
import { type DescriptorFields, parseBytes } from "../../host/gpu/session-recording.ts";
import { LIMITS } from "../../proto/limits.ts";
import { readVectors } from "../vectors/messages.ts";
import { readRecording } from "../vectors/vhost/recordings.ts";

const TYPE_OFFSET = 5;

/** Each message as a stream in small pieces, and as type and body (wire-fuzzer.c). */
export function wireSeeds(): Buffer[] {
  return readVectors().flatMap(({ hex }) => {
    const bytes = Buffer.from(hex, "hex");
    const body = bytes.subarray(LIMITS.HEADER_BYTES);
    return [
      Buffer.concat([Buffer.from([0, 6]), bytes]),
      Buffer.concat([Buffer.from([1, bytes[TYPE_OFFSET] ?? 0]), body]),
    ];
  });
}

/** virtqueue-fuzzer.cc: entries, where the available ring is, and where the vectors' buffers go. */
const LOG_SIZE = 4;
const AVAILABLE = 256;
const BUFFERS = 2048;
const VECTOR_BUFFERS = 0x800_0000;
const EVENT_IDX_AND_INDIRECT = 3;

/** The hostile descriptor chains, and an honest one. */
export function virtqueueSeeds(): Buffer[] {
  const honest = { chain: [[VECTOR_BUFFERS, 24, 1, 1] as const, [VECTOR_BUFFERS + 64, 24, 2, 0] as const] };
  const faults = readRecording("hostile-chains.jsonl").filter((entry) => "fault" in entry);
  return [honest, ...faults].map((entry) => {
    const page = Buffer.alloc(4096);
    ("chain" in entry ? (entry.chain ?? []) : []).forEach((descriptor, i) => {
      writeDescriptor(page, i * 16, descriptor);
    });
    for (const [, bytes] of "memory" in entry ? (entry.memory ?? []) : [])
      parseBytes(bytes).copy(page, BUFFERS);
    page.writeUInt16LE(1, AVAILABLE + 2);
    const setup = Buffer.from([LOG_SIZE, EVENT_IDX_AND_INDIRECT, 0, 0, 0, 4, 24, 0]);
    return Buffer.concat([setup, page]);
  });
}

function writeDescriptor(page: Buffer, at: number, [address, length, flags, next]: DescriptorFields): void {
  const moved = address >= VECTOR_BUFFERS && address < VECTOR_BUFFERS + 2048;
  page.writeBigUInt64LE(BigInt(moved ? address - VECTOR_BUFFERS + BUFFERS : address), at);
  page.writeUInt32LE(length, at + 8);
  page.writeUInt16LE(flags, at + 12);
  page.writeUInt16LE(next, at + 14);
}

/** Of libx264: baseline, high with HRD in fields, main with 4:3 pixels, 4:4:4 with colours. */
const SPS = [
  "6742c014d90150878888c044000003000400000300c83c50a920",
  "674d4014eca0a843c4447fe03c803c62000003000200000300641e28532c",
  "67f4000d919b282a10f1f1f80b50101014000003000400000300c83c50a658",
];
const START_CODE = Buffer.from([0, 0, 0, 1]);
const PPS = Buffer.from("68ebe3cb22c0", "hex");
/** The beginning of one is enough: parameter sets after it are left alone. */
const SLICE = Buffer.from("65888400", "hex");

/** Parameter sets of libx264 with several options, alone and in an access unit (sps-fuzzer.cc). */
export function spsSeeds(): Buffer[] {
  return SPS.flatMap((hex) => {
    const unit = Buffer.from(hex, "hex");
    const accessUnit = Buffer.concat([START_CODE, unit, START_CODE, PPS, START_CODE, SLICE]);
    return [0, 15].flatMap((options) => [
      Buffer.concat([Buffer.from([0, options]), unit]),
      Buffer.concat([Buffer.from([1, options]), accessUnit]),
    ]);
  });
}

/** virgl-fuzzer.c: kind of step, relay, resource, value; then what some steps take. */
export function virglSeeds(): Buffer[] {
  const turns = [12, 0, 0, 0];
  const connect = [0, 0, 0, 0, 3, 0, 0, 0, ...turns];
  const texture = (id: number) => [8, 0, 0, 0, id, 0, 0, 63, 63, 0, 0];
  const blob = [8, 0, 0, 0, 0, 1, 4, 63, 63, 0, 64];
  const pages = [9, 0, 0, 0, 0, 2, 0, 128, 4, 128];
  const acquire = (id: number) => [4, 0, id, 1];
  const read = [5, 0, 0, 2, ...turns, ...turns, ...turns];
  const free = [6, 0, 0, 2, 7, 0, 0, 0, 10, 0, 0, 0];
  const leave = [12, 0, 0, 255];
  const gpu = (bits: number) => [11, 0, 0, bits];
  const many = Array.from({ length: 16 }, (_, id) => id);
  return [
    [...texture(0), ...pages, ...acquire(0), ...read, ...free, ...leave],
    [...texture(0), ...gpu(1), ...acquire(0), ...read, ...gpu(0), ...turns, ...gpu(255), ...leave],
    [...blob, ...acquire(0), ...read, ...free, ...pages, ...acquire(0)],
    [2, 0, 0, 3, 0x1a, 1, 0, 1, 0, 0, 2, 9, 9],
    many.flatMap((id) => [...texture(id), ...acquire(id)]),
    many.slice(0, 4).flatMap(() => [1, 0, 0, 255, ...new Array<number>(255).fill(1)]),
  ].map((steps) => Buffer.from([...connect, ...steps]));
}
