/**
 * Numbers that count up for as long as a session lives, and wrap: u32 in the arithmetic of RFC 1982. C counts the same way
 * with its unsigned integers.
 */

/** The number after this one. */
export function nextSerial(serial: number): number {
  return (serial + 1) >>> 0;
}

/** Whether a number is among the 2^31 - 1 that follow another. */
export function isSerialAfter(serial: number, other: number): boolean {
  return ((serial - other) | 0) > 0;
}
