/** The pointer, from the guest's cursor queue to a relay. */
import { describe, expect, it } from "vitest";
import type { CursorImage } from "../../../proto/export.ts";
import {
  attach,
  create,
  detach,
  front,
  gpuCommand,
  HIGH_ADDRESS,
  started,
  useFrontEnd,
} from "./front-end.ts";
import { until } from "./vhost-socket.ts";

const [OK, UNSPECIFIED, UNKNOWN_RESOURCE, INVALID, UNKNOWN_HEAD] = [0x1100, 0x1200, 0x1203, 0x1205, 0x1202];
const [UPDATE, MOVE] = [0x300, 0x301];
const RESOURCE = 5;
const BYTES = 64 * 64 * 4;

useFrontEnd(started);

/** In three runs of memory, of which the last is in the other region. */
async function preparePointer(format = 1, pixel: readonly number[] = [1, 2, 3, 4]): Promise<void> {
  await front.answer(gpuCommand(0x101, [RESOURCE, format, 64, 64]));
  await front.answer(
    attach(RESOURCE, [
      [0x20_0000, 4096],
      [0x20_2000, 4096],
      [HIGH_ADDRESS + 0x3000, 8192],
    ]),
  );
  const image = Buffer.alloc(BYTES, Buffer.from(pixel));
  image.set([9, 8, 7, 6], BYTES - 4);
  front.write(0x20_0000, image.subarray(0, 4096));
  front.write(0x20_2000, image.subarray(4096, 8192));
  front.write(HIGH_ADDRESS + 0x3000, image.subarray(8192));
}

const cursor = (type: number, head: number, x: number, y: number, resource = 0): Promise<number> =>
  front.answer(gpuCommand(type, [head, x >>> 0, y >>> 0, 0, resource, 0, 0, 0]), 1);

type Announced = { image: CursorImage | undefined } | { x: number; y: number };

async function relay(): Promise<{ announced: Announced[]; count: (count: number) => Promise<unknown> }> {
  const announced: Announced[] = [];
  await front.client({
    onCursorImage: (head, image) => head === 1 && announced.push({ image }),
    onCursorPosition: (head, x, y) => head === 1 && announced.push({ x, y }),
  });
  return {
    announced,
    count: (count) => until(`${count} messages`, () => announced.length >= count),
  };
}

describe("a pointer", () => {
  it("is announced to the relays with its image, also to those that connect later", async () => {
    await preparePointer();
    const early = await relay();
    expect(await cursor(UPDATE, 1, 20, -3, RESOURCE)).toBe(OK);
    await early.count(2);
    const late = await relay();
    await late.count(2);
    for (const { announced } of [early, late]) {
      expect(announced[0]).toEqual({ x: 20, y: -3 });
      const { image } = announced[1] as { image: CursorImage };
      expect(image).toMatchObject({ width: 64, height: 64 });
      expect([...image.pixels.subarray(0, 4)]).toEqual([3, 2, 1, 4]);
      expect([...image.pixels.subarray(-4)]).toEqual([7, 8, 9, 6]);
      expect(image.pixels.length).toBe(BYTES);
    }
  });

  it.each([
    [2, [3, 2, 1, 4]],
    [3, [2, 3, 4, 1]],
    [4, [2, 3, 4, 1]],
    [67, [1, 2, 3, 4]],
    [68, [4, 3, 2, 1]],
    [121, [4, 3, 2, 1]],
    [134, [1, 2, 3, 4]],
  ])("of format %i has its bytes put in order", async (format, expected) => {
    await preparePointer(format);
    const { announced, count } = await relay();
    await cursor(UPDATE, 1, 0, 0, RESOURCE);
    await count(2);
    expect([...(announced[1] as { image: CursorImage }).image.pixels.subarray(0, 4)]).toEqual(expected);
  });

  it("keeps its image when it moves and when the driver draws another one into the pages", async () => {
    await preparePointer();
    await cursor(UPDATE, 1, 0, 0, RESOURCE);
    front.write(0x20_0000, Buffer.alloc(4096));
    expect(await cursor(MOVE, 1, 30, 40)).toBe(OK);
    const { announced, count } = await relay();
    await count(2);
    expect(announced[0]).toEqual({ x: 30, y: 40 });
    expect([...(announced[1] as { image: CursorImage }).image.pixels.subarray(0, 4)]).toEqual([3, 2, 1, 4]);
  });

  it("is announced once, with the newest position, for many moves at once", async () => {
    await preparePointer();
    const { announced, count } = await relay();
    await cursor(UPDATE, 1, 0, 0, RESOURCE);
    await count(2);
    const moves = Array.from({ length: 6 }, (_, x) => gpuCommand(MOVE, [1, x, 7, 0, 0, 0, 0, 0]));
    const chains = moves.map((command, i) => {
      const address = 0x8_1000 + i * command.length;
      front.write(address, command);
      return { address, length: command.length, flags: 0, next: 0 };
    });
    for (const head of chains.keys()) front.queue(1, chains, head);
    front.kick(1);
    await until("the last position", () => announced.some((one) => "x" in one && one.x === 5));
    expect(announced.slice(2)).toEqual([{ x: 5, y: 7 }]);
  });

  it.each<readonly [string, () => Promise<unknown>]>([
    ["is hidden", () => cursor(UPDATE, 1, 0, 0, 0)],
    [
      "resets the device",
      async () => {
        await front.stopDevice();
        front.send(34);
      },
    ],
  ])("is gone when the driver %s", async (_what, end) => {
    await preparePointer();
    const { announced, count } = await relay();
    await cursor(UPDATE, 1, 0, 0, RESOURCE);
    await count(2);
    await end();
    await count(3);
    expect(announced.slice(2)).toEqual([{ image: undefined }]);
  });

  it("that cannot be one is refused, and the last one stays", async () => {
    await preparePointer();
    await cursor(UPDATE, 1, 0, 0, RESOURCE);
    await front.answer(create(6, 64, 32));
    await front.answer(create(7));
    expect(await cursor(UPDATE, 1, 0, 0, 6)).toBe(INVALID);
    expect(await cursor(UPDATE, 1, 0, 0, 7)).toBe(UNSPECIFIED);
    expect(await cursor(UPDATE, 1, 0, 0, 8)).toBe(UNKNOWN_RESOURCE);
    expect(await cursor(UPDATE, 16, 0, 0, RESOURCE)).toBe(UNKNOWN_HEAD);
    await front.answer(attach(7, [[0x20_0000, 8192]]));
    expect(await cursor(UPDATE, 1, 0, 0, 7)).toBe(UNSPECIFIED);
    await front.answer(detach(RESOURCE));
    const { announced, count } = await relay();
    await count(2);
    expect(announced[1]).toMatchObject({ image: { width: 64 } });
  });
});
