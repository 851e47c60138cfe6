import { HEADER_OFFSET } from "../../proto/limits.ts";

/** CRC-32 by its definition, independent of zlib's. */
export function crcOf(bytes: Uint8Array): number {
  let value = 0xffffffff;
  for (const byte of bytes) {
    value ^= byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  }
  return (value ^ 0xffffffff) >>> 0;
}

/** Makes the check of a header true. */
export function sealHeader(header: Buffer): Buffer {
  header.writeUInt16LE(crcOf(header.subarray(0, HEADER_OFFSET.check)) & 0xffff, HEADER_OFFSET.check);
  return header;
}

/** Makes check and CRC of a whole message true, for messages that our encoder refuses to make. */
export function sealed(message: Buffer): Buffer {
  sealHeader(message).writeUInt32LE(0, HEADER_OFFSET.crc);
  message.writeUInt32LE(crcOf(message), HEADER_OFFSET.crc);
  return message;
}
