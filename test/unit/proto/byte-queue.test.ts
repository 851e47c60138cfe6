import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import { ByteQueue } from "../../../proto/byte-queue.ts";

afterEach(() => vi.restoreAllMocks());

/** Adds a piece as a socket's owner does, whose memory is used again. */
function receive(queue: ByteQueue, piece: Uint8Array): void {
  const memory = Buffer.from(piece);
  queue.add(memory);
  queue.keep();
  memory.fill(0xaa);
}

describe("ByteQueue", () => {
  it("has the bytes that were added and not removed, in order", () => {
    const step = fc.record({ piece: fc.uint8Array({ maxLength: 700 }), drop: fc.nat(900) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const queue = new ByteQueue();
        let model = Buffer.alloc(0);
        for (const { piece, drop } of steps) {
          receive(queue, piece);
          model = Buffer.concat([model, piece]);
          const count = Math.min(drop, model.length);
          queue.drop(count);
          model = model.subarray(count);
          expect(queue.length).toBe(model.length);
          expect(queue.bytes.equals(model)).toBe(true);
        }
      }),
    );
  });

  it("forgets what it awaits when anything is removed", () => {
    const queue = new ByteQueue();
    receive(queue, Buffer.alloc(10));
    queue.await(20);
    receive(queue, Buffer.alloc(5));
    expect(queue.awaited).toBe(20);
    queue.drop(1);
    expect(queue.awaited).toBe(0);
    queue.await(20);
    queue.clear();
    expect(queue.awaited).toBe(0);
  });

  it("copies nothing of a piece that is processed at once", () => {
    const copy = vi.spyOn(Buffer.prototype, "copy");
    const queue = new ByteQueue();
    const piece = Buffer.alloc(1000);
    for (let n = 0; n < 10; n++) {
      queue.add(piece);
      queue.drop(1000);
      queue.keep();
    }
    expect(copy).not.toHaveBeenCalled();
  });

  it("copies each byte a bounded number of times, however small the pieces", () => {
    const copy = vi.spyOn(Buffer.prototype, "copy");
    const queue = new ByteQueue();
    const count = 100_000;
    for (let n = 0; n < count; n++) {
      queue.add(Buffer.of(n & 0xff));
      queue.keep();
      // A message of 1000 bytes now and then, so that the front moves too.
      if (n % 3000 === 0 && queue.length > 1000) queue.drop(1000);
    }
    const copied = copy.mock.results.reduce((sum, { value }) => sum + Number(value), 0);
    expect(copied).toBeLessThan(4 * count);
  });
});
