/** Counts what zlib's crc32 is given, for tests that replace `node:zlib` by this. */
type Zlib = typeof import("node:zlib");

export const hashed = { bytes: 0 };

export function countingZlib(zlib: Zlib): Zlib {
  const crc32: Zlib["crc32"] = (bytes, value) => {
    hashed.bytes += typeof bytes === "string" ? Buffer.byteLength(bytes) : bytes.byteLength;
    return zlib.crc32(bytes, value);
  };
  return { ...zlib, crc32 };
}
