import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isSerialAfter, nextSerial } from "../../../proto/serial-numbers.ts";

const HALF = 2 ** 31;
const serial = fc.integer({ min: 0, max: 2 ** 32 - 1 });

describe("serial numbers", () => {
  it("wrap at 2^32", () => {
    expect([0, 1, 0x7fffffff, 0xfffffffe, 0xffffffff].map(nextSerial)).toEqual([
      ...[1, 2, 0x80000000, 0xffffffff, 0],
    ]);
  });

  it("follow all that are less than half the circle behind", () => {
    fc.assert(
      fc.property(serial, fc.integer({ min: 1, max: HALF - 1 }), (other, distance) => {
        const later = (other + distance) % 2 ** 32;
        expect(isSerialAfter(later, other)).toBe(true);
        expect(isSerialAfter(other, later)).toBe(false);
      }),
    );
  });

  it("follow neither themselves nor the one opposite", () => {
    fc.assert(
      fc.property(serial, (one) => {
        expect(isSerialAfter(one, one)).toBe(false);
        expect(isSerialAfter((one + HALF) % 2 ** 32, one)).toBe(false);
      }),
    );
  });
});
