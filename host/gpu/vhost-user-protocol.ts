/**
 * Messages of vhost-user (QEMU docs/interop/vhost-user.rst) as bytes: a header of request, flags and size, then the
 * payload; descriptors come with the header. Little-endian, as all supported hosts.
 */
import type { RegionDescription } from "../native/os-addon.ts";
import type { RingAddresses } from "./vring.ts";

/** "Front-end message types" that are supported. */
export const Request = {
  GET_FEATURES: 1,
  SET_FEATURES: 2,
  SET_OWNER: 3,
  RESET_OWNER: 4,
  SET_MEM_TABLE: 5,
  SET_VRING_NUM: 8,
  SET_VRING_ADDR: 9,
  SET_VRING_BASE: 10,
  GET_VRING_BASE: 11,
  SET_VRING_KICK: 12,
  SET_VRING_CALL: 13,
  SET_VRING_ERR: 14,
  GET_PROTOCOL_FEATURES: 15,
  SET_PROTOCOL_FEATURES: 16,
  GET_QUEUE_NUM: 17,
  SET_VRING_ENABLE: 18,
  GET_CONFIG: 24,
  SET_CONFIG: 25,
  GPU_SET_SOCKET: 33,
  RESET_DEVICE: 34,
} as const;

/** "Protocol features", as bit numbers. */
export const ProtocolFeature = { REPLY_ACK: 3, CONFIG: 9, RESET_DEVICE: 13 } as const;

/** VHOST_USER_F_PROTOCOL_FEATURES, a bit of the virtio features that only vhost-user sees. */
export const PROTOCOL_FEATURES_BIT = 30;

export const MESSAGE_HEADER_BYTES = 12;
/** The longest payload of the requests above is a memory table. */
export const MAX_PAYLOAD_BYTES = 4096;
/** Regions of SET_MEM_TABLE. */
export const MAX_REGIONS = 8;

const VERSION = 1;
const VERSION_MASK = 3;
const FLAG_REPLY = 4;
const FLAG_NEED_REPLY = 8;
const REGION_BYTES = 32;
const VRING_INDEX_MASK = 0xff;
const VRING_NO_FD = 0x100;

/** The front end sent an invalid message. */
export class VhostUserError extends Error {
  override readonly name = "VhostUserError";
}

export interface MessageHeader {
  readonly request: number;
  readonly needsReply: boolean;
  /** Of the payload, in bytes. */
  readonly size: number;
}

/** @throws VhostUserError; the connection cannot be used any more */
export function parseHeader(bytes: Buffer): MessageHeader {
  const flags = bytes.readUInt32LE(4);
  const size = bytes.readUInt32LE(8);
  if ((flags & VERSION_MASK) !== VERSION || (flags & FLAG_REPLY) !== 0 || size > MAX_PAYLOAD_BYTES) {
    throw new VhostUserError(`invalid message with flags 0x${flags.toString(16)} and ${size} bytes`);
  }
  return { request: bytes.readUInt32LE(0), needsReply: (flags & FLAG_NEED_REPLY) !== 0, size };
}

/** A reply to `request`. */
export function serialiseReply(request: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(MESSAGE_HEADER_BYTES);
  header.writeUInt32LE(request, 0);
  header.writeUInt32LE(VERSION | FLAG_REPLY, 4);
  header.writeUInt32LE(payload.length, 8);
  return Buffer.concat([header, payload]);
}

function requireSize(payload: Buffer, bytes: number): void {
  if (payload.length < bytes) {
    throw new VhostUserError(`invalid payload of ${payload.length} bytes, at least ${bytes} are needed`);
  }
}

export function u64Payload(value: bigint): Buffer {
  const payload = Buffer.alloc(8);
  payload.writeBigUInt64LE(value);
  return payload;
}

/** @throws VhostUserError, like all of the following */
export function parseU64(payload: Buffer): bigint {
  requireSize(payload, 8);
  return payload.readBigUInt64LE(0);
}

function safeU64(payload: Buffer, at: number): number {
  const value = Number(payload.readBigUInt64LE(at));
  if (!Number.isSafeInteger(value))
    throw new VhostUserError(`the number at byte ${at} of the payload is not below 2^53`);
  return value;
}

/** "A vring state description": which ring, and a number. */
export interface RingState {
  readonly index: number;
  readonly value: number;
}

export function parseRingState(payload: Buffer): RingState {
  requireSize(payload, 8);
  return { index: payload.readUInt32LE(0), value: payload.readUInt32LE(4) };
}

export function ringStatePayload({ index, value }: RingState): Buffer {
  return u64Payload((BigInt(value) << 32n) | BigInt(index));
}

/** "A vring address description". */
export function parseRingAddresses(payload: Buffer): { readonly index: number } & RingAddresses {
  requireSize(payload, 40);
  return {
    index: payload.readUInt32LE(0),
    descriptors: safeU64(payload, 8),
    used: safeU64(payload, 16),
    available: safeU64(payload, 24),
  };
}

/** SET_VRING_KICK, CALL and ERR: which ring, and whether a descriptor comes with the message. */
export function parseRingDescriptor(payload: Buffer): { readonly index: number; readonly hasFd: boolean } {
  const value = Number(BigInt.asUintN(32, parseU64(payload)));
  return { index: value & VRING_INDEX_MASK, hasFd: (value & VRING_NO_FD) === 0 };
}

/** "Memory regions description". */
export function parseMemoryTable(payload: Buffer): readonly RegionDescription[] {
  requireSize(payload, 8);
  const regions = payload.readUInt32LE(0);
  if (regions > MAX_REGIONS) throw new VhostUserError(`${regions} memory regions, at most ${MAX_REGIONS}`);
  requireSize(payload, 8 + regions * REGION_BYTES);
  return Array.from({ length: regions }, (_, i) => {
    const at = 8 + i * REGION_BYTES;
    return {
      guestAddress: safeU64(payload, at),
      size: safeU64(payload, at + 8),
      userAddress: safeU64(payload, at + 16),
      fileOffset: safeU64(payload, at + 24),
    };
  });
}

const CONFIG_PREFIX_BYTES = 12;

/** The answer to GET_CONFIG ("Virtio device config space"): the request's payload, filled in. */
export function configPayload(request: Buffer, configuration: Buffer): Buffer {
  requireSize(request, CONFIG_PREFIX_BYTES);
  const offset = request.readUInt32LE(0);
  const size = request.readUInt32LE(4);
  if (offset + size > configuration.length || request.length < CONFIG_PREFIX_BYTES + size) {
    throw new VhostUserError(
      `invalid range of ${size} bytes at ${offset} of the configuration of ${configuration.length}`,
    );
  }
  const prefix = request.subarray(0, CONFIG_PREFIX_BYTES);
  return Buffer.concat([prefix, configuration.subarray(offset, offset + size)]);
}
