import { readdirSync } from "node:fs";
import { beforeEach, describe, expect, it } from "vitest";
import { generateEdid } from "../../../host/gpu/edid.ts";
import {
  attach,
  create,
  descriptorBytes,
  detach,
  flush,
  front,
  gpuCommand,
  HIGH_ADDRESS,
  INDIRECT,
  NEXT,
  QEMU_FEATURES,
  REGION_BYTES,
  setScanout,
  started,
  state,
  u64,
  unref,
  useFrontEnd,
  WRITE,
} from "./front-end.ts";
import { until } from "./vhost-socket.ts";

const OK = 0x1100;
const ERR_UNSPEC = 0x1200;
const ERR_SCANOUT = 0x1202;
const ERR_RESOURCE = 0x1203;
const ERR_PARAMETER = 0x1205;

useFrontEnd(() => undefined);

describe("vhost-user", () => {
  it("answers QEMU's messages before any driver", async () => {
    const features = (await front.ask(1)).readBigUInt64LE(0);
    expect(features).toBe((1n << 1n) | (1n << 28n) | (1n << 29n) | (1n << 30n) | (1n << 32n));
    const protocol = (await front.ask(15)).readBigUInt64LE(0);
    expect(protocol).toBe((1n << 3n) | (1n << 9n) | (1n << 13n));
    front.send(16, u64(protocol));
    front.send(3);
    front.send(34);
    front.send(34);
    const request = Buffer.alloc(28);
    request.writeUInt32LE(16, 4);
    const configuration = await front.ask(24, request);
    expect(configuration).toHaveLength(28);
    expect(configuration.readUInt32LE(12 + 8)).toBe(2);
  });

  it("acknowledges requests that it cannot carry out with a failure, and continues", async () => {
    await front.negotiate();
    expect(await front.acknowledged(99, u64(0n))).not.toBe(0n);
    expect(await front.acknowledged(5, front.memoryTable())).not.toBe(0n);
    expect(await front.acknowledged(18, state(7, 1))).not.toBe(0n);
    await front.ask(1);
  });

  it("ends a connection with invalid bytes", async () => {
    await front.negotiate();
    const ended = front.service.ended;
    front.send(1, Buffer.alloc(0), [], 0);
    await expect(ended).rejects.toThrow("flags 0x0");
  });

  it("does not mistake a peer that sends nothing valid for QEMU", async () => {
    front.send(1, Buffer.alloc(0), [], 0);
    await until("the end of the connection", () => front.ended);
    const ended = await Promise.race([front.service.ended.then(() => true), Promise.resolve(false)]);
    expect(ended).toBe(false);
  });

  it("ends without an error when QEMU disconnects", async () => {
    await started(front);
    front.disconnect();
    await expect(front.service.ended).resolves.toBeUndefined();
  });

  it("serves kicks that came before ENABLE", async () => {
    await front.negotiate();
    await front.startDevice({ enable: false });
    const submitted = front.submit(create(1));
    await front.roundTrip();
    expect(submitted.isDone()).toBe(false);
    await front.acknowledged(18, state(0, 1));
    expect((await submitted.answer()).readUInt32LE(0)).toBe(OK);
  });

  it("requests kicks as the negotiated features say", async () => {
    await started(front);
    for (let id = 1; id <= 3; id++) await front.answer(create(id));
    // avail_event, behind the used ring's 64 entries, follows the available index.
    await until("avail_event", () => front.read(0x3000 + 4 + 64 * 8, 2).readUInt16LE(0) === 3);
  });

  it("does not write avail_event when EVENT_IDX was not negotiated", async () => {
    await front.negotiate();
    await front.startDevice({ features: QEMU_FEATURES & ~(1n << 29n) });
    expect(await front.answer(create(1))).toBe(OK);
    expect(front.read(0x3000 + 4 + 64 * 8, 2).readUInt16LE(0)).toBe(0);
  });

  it("keeps resources over stop and cont, and continues at the ring's base", async () => {
    await started(front);
    await front.answer(create(1));
    await front.answer(attach(1, [[0x20_0000, 16384]]));
    const bases = await front.stopDevice();
    expect(bases).toEqual([2, 0]);
    const client = await front.client();
    const paused = await client.acquire(1);
    expect(paused.extents).toEqual([{ memory: 1, offset: 0x20_0000, length: 16384 }]);
    await front.startDevice({ bases });
    expect(await front.answer(create(1))).toBe(ERR_RESOURCE);
    expect((await client.acquire(1)).generation).toBe(paused.generation);
  });

  it("forgets resources on RESET_DEVICE", async () => {
    await started(front);
    await front.answer(create(2));
    await front.stopDevice();
    front.send(34);
    front.clearRings();
    await front.startDevice();
    expect(await front.answer(create(2))).toBe(OK);
  });

  it("leaks no descriptor over many stops and resets", async () => {
    await started(front);
    const count = () => readdirSync("/proc/self/fd").length;
    await front.startDevice({ bases: await front.stopDevice() });
    const before = count();
    for (let i = 0; i < 10; i++) await front.startDevice({ bases: await front.stopDevice() });
    expect(count()).toBe(before);
    front.send(34, Buffer.alloc(0), [front.memory]);
    await front.ask(1);
    // The kick descriptors have gone, and the unexpected one was not kept.
    expect(count()).toBe(before - 2);
  });
});

describe("virtio-gpu", () => {
  beforeEach(() => started(front));

  it("reports its displays", async () => {
    const answer = await front.command(gpuCommand(0x100));
    expect(answer).toHaveLength(24 + 16 * 24);
    expect(answer.readUInt32LE(0)).toBe(0x1101);
    const heads = Array.from({ length: 16 }, (_, head) => [
      ...[0, 8, 12, 16].map((offset) => answer.readUInt32LE(24 + head * 24 + offset)),
    ]);
    expect(heads[0]).toEqual([0, 1280, 800, 1]);
    expect(heads[1]).toEqual([1280, 1280, 800, 1]);
    expect(heads[2]).toEqual([0, 0, 0, 0]);
  });

  it("returns fence and context with the answer", async () => {
    const command = gpuCommand(0x100, [], 0x1234_5678_9abc_def0n);
    command.writeUInt32LE(7, 16);
    const answer = await front.command(command);
    expect(answer.readUInt32LE(4)).toBe(1);
    expect(answer.readBigUInt64LE(8)).toBe(0x1234_5678_9abc_def0n);
    expect(answer.readUInt32LE(16)).toBe(7);
  });

  it("answers GET_EDID", async () => {
    const answer = await front.command(gpuCommand(0x10a, [1, 0]));
    expect(answer.readUInt32LE(0)).toBe(0x1104);
    expect(answer.readUInt32LE(24)).toBe(128);
    expect(answer.subarray(32, 160)).toEqual(generateEdid(1, { width: 1280, height: 800 }));
    expect(await front.answer(gpuCommand(0x10a, [16, 0]))).toBe(ERR_SCANOUT);
  });

  it("creates, shows, flushes and frees a resource", async () => {
    expect(await front.answer(create(5))).toBe(OK);
    expect(await front.answer(attach(5, [[0x20_0000, 16384]]))).toBe(OK);
    expect(await front.answer(setScanout(1, 5))).toBe(OK);
    expect(await front.answer(gpuCommand(0x105, [0, 0, 64, 64, 0, 0, 5, 0]))).toBe(OK);
    expect(await front.answer(flush(5, [0, 0, 64, 64]))).toBe(OK);
    expect(await front.answer(detach(5))).toBe(OK);
    expect(await front.answer(unref(5))).toBe(OK);
    expect(await front.answer(unref(5))).toBe(ERR_RESOURCE);
  });

  it("takes cursor commands on the cursor queue", async () => {
    const position = [0, 10, 10, 0];
    expect(await front.answer(gpuCommand(0x300, [...position, 0, 0, 0, 0]), 1)).toBe(OK);
    expect(await front.answer(gpuCommand(0x301, [...position, 0, 0, 0, 0]), 1)).toBe(OK);
    expect(await front.answer(gpuCommand(0x300, [...position, 6, 0, 0, 0]), 1)).toBe(ERR_RESOURCE);
    expect(await front.answer(gpuCommand(0x100), 1)).toBe(ERR_UNSPEC);
  });

  it("takes a backing of many thousand entries through an indirect table", async () => {
    const pages = 20_000;
    const ranges = Array.from({ length: pages }, (_, i) => [(i % 2) * 0x20_0000 + 4096, 4096] as const);
    const command = attach(9, ranges);
    await front.answer(create(9, 8192, 8192));
    const at = HIGH_ADDRESS + 0x1000;
    front.write(at, command);
    // One descriptor a page, as a vmalloc'ed buffer has it; the table is longer than the ring.
    const count = Math.ceil(command.length / 4096);
    const table = Array.from({ length: count }, (_, i) =>
      descriptorBytes({
        address: at + i * 4096,
        length: Math.min(4096, command.length - i * 4096),
        flags: NEXT,
        next: i + 1,
      }),
    );
    table.push(descriptorBytes({ address: 0x18_0000, length: 24, flags: WRITE, next: 0 }));
    front.write(0x30_0000, Buffer.concat(table));
    await front.offer(0, [{ address: 0x30_0000, length: table.length * 16, flags: INDIRECT, next: 0 }]);
    expect(front.read(0x18_0000, 4).readUInt32LE(0)).toBe(OK);
    const client = await front.client();
    await expect(client.acquire(9)).rejects.toMatchObject({ code: "RESOURCE_NOT_SHAREABLE" });
  });
});

describe("a hostile guest", () => {
  beforeEach(() => started(front));

  it.each<readonly [string, Buffer, number]>([
    ["an unknown command", gpuCommand(0x777), ERR_UNSPEC],
    ["a 3D command", gpuCommand(0x204, new Array<number>(12).fill(1)), ERR_UNSPEC],
    ["a context", gpuCommand(0x200, new Array<number>(18).fill(0)), ERR_UNSPEC],
    ["half a header", Buffer.alloc(10), ERR_PARAMETER],
    ["half a command", gpuCommand(0x101, [1]), ERR_PARAMETER],
    ["resource 0", create(0), ERR_RESOURCE],
    ["a size of 0", create(1, 0, 5), ERR_PARAMETER],
    ["an absurd size", create(1, 0xffffffff, 0xffffffff), ERR_PARAMETER],
    ["an unknown format", gpuCommand(0x101, [1, 99, 4, 4]), ERR_PARAMETER],
    ["the same id twice", create(7), ERR_RESOURCE],
    ["an unknown resource", flush(77, [0, 0, 1, 1]), ERR_RESOURCE],
    ["a flush outside", flush(7, [60, 0, 5, 1]), ERR_PARAMETER],
    ["a flush that wraps around", flush(7, [0xffffffff, 0, 2, 1]), ERR_PARAMETER],
    ["a scanout outside", setScanout(0, 7, 65, 64), ERR_PARAMETER],
    ["an empty scanout", setScanout(0, 7, 0, 64), ERR_PARAMETER],
    ["an unknown head", setScanout(16, 7), ERR_SCANOUT],
    ["a transfer without backing", gpuCommand(0x105, [0, 0, 64, 64, 0, 0, 7, 0]), ERR_UNSPEC],
    ["a second backing", attach(8, [[0, 4096]]), ERR_UNSPEC],
    ["a backing outside memory", attach(7, [[REGION_BYTES - 4096, 8192]]), ERR_PARAMETER],
    ["a backing in a hole", attach(7, [[2 ** 31, 4096]]), ERR_PARAMETER],
    ["a backing beyond 2^53", attach(7, [[2 ** 60, 4096]]), ERR_PARAMETER],
    ["more entries than were sent", gpuCommand(0x106, [7, 1000, 0, 0, 4096, 0]), ERR_PARAMETER],
    ["an absurd number of entries", gpuCommand(0x106, [7, 0xffffffff]), ERR_PARAMETER],
  ])("gets the specification's error for %s", async (_what, command, error) => {
    await front.answer(create(7));
    await front.answer(create(8));
    await front.answer(attach(8, [[0, 4096]]));
    expect(await front.answer(command)).toBe(error);
    expect(await front.answer(gpuCommand(0x100))).toBe(0x1101);
  });

  const readable = { address: 0x10_0000, length: 24, flags: NEXT, next: 1 };
  it.each([
    ["a loop", [readable, { ...readable, next: 0 }]],
    ["a next outside the table", [{ ...readable, next: 64 }]],
    [
      "bytes outside memory",
      [
        { ...readable, address: 2 ** 40 },
        { ...readable, flags: 0 },
      ],
    ],
    [
      "readable after writable",
      [
        { ...readable, flags: NEXT | WRITE },
        { ...readable, flags: 0 },
      ],
    ],
    ["an indirect table of no descriptor", [{ address: 0x30_0000, length: 15, flags: INDIRECT, next: 0 }]],
    ["an indirect table outside memory", [{ address: 2 ** 40, length: 32, flags: INDIRECT, next: 0 }]],
    ["an absurd indirect table", [{ address: 0, length: 0xfffffff0, flags: INDIRECT, next: 0 }]],
  ])("gets a chain back that has %s", async (_what, chain) => {
    expect(await front.offer(0, chain)).toBe(0);
    expect(await front.answer(gpuCommand(0x100))).toBe(0x1101);
  });

  it("finds its answer cut where the room is too small or not memory", async () => {
    front.write(0x10_0000, gpuCommand(0x100));
    await front.offer(0, [readable, { address: 2 ** 40, length: 408, flags: WRITE, next: 0 }]);
    const room = { address: 0x18_0000, length: 30, flags: WRITE, next: 0 };
    expect(await front.offer(0, [readable, room])).toBe(30);
  });

  it("kills only its own ring with an absurd available index", async () => {
    front.setAvailable(0, 1000);
    front.kick(0);
    await front.roundTrip();
    expect(front.usedIndex(0)).toBe(0);
    expect((await front.ask(1)).length).toBe(8);
    await front.stopDevice();
    front.send(34);
    front.clearRings();
    await front.startDevice();
    expect(await front.answer(create(1))).toBe(OK);
  });
});
