import { fstatSync, readdirSync, readSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { closeDescriptor, memoryStatus } from "../../../host/native/descriptor.ts";
import { connectUnix, FdSocket } from "../../../host/native/fd-socket.ts";
import { ExportClosedError } from "../../../host/relay/export-client.ts";
import { ExportDecoder, type ExportMessage, encodeExportMessage } from "../../../proto/export.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { memoriesAreFiles } from "../portable/platform.ts";
import {
  attach,
  create,
  detach,
  FrontEnd,
  flush,
  gpuCommand,
  HIGH_ADDRESS,
  REGION_BYTES,
  setScanout,
  unref,
} from "./front-end.ts";
import { until } from "./vhost-socket.ts";

const OK = 0x1100;
let front: FrontEnd;

beforeEach(async () => {
  front = FrontEnd.start();
  await front.negotiate();
});

afterEach(async () => {
  await front.close();
});

async function prepared(): Promise<void> {
  await front.startDevice();
  await front.answer(create(5));
  await front.answer(
    attach(5, [
      [0x20_0000, 4096],
      [0x20_1000, 4096],
      [HIGH_ADDRESS + 0x3000, 8192],
    ]),
  );
}

const milliseconds = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe("acquire", () => {
  it("tells where the bytes are, in a memory that only reads", async () => {
    await prepared();
    front.write(HIGH_ADDRESS + 0x3000, Buffer.from("pixels"));
    const client = await front.client();
    const resource = await client.acquire(5);
    expect(resource).toMatchObject({ resource: 5, width: 64, height: 64, format: 1 });
    const high = memoriesAreFiles ? 1 : 2;
    expect(resource.extents).toEqual([
      { memory: 1, offset: 0x20_0000, length: 8192 },
      { memory: high, offset: REGION_BYTES + 0x3000, length: 8192 },
    ]);
    const memory = resource.memories.get(high);
    if (memory === undefined) throw new Error("no memory");
    expect(memory.size).toBe(2 * REGION_BYTES);
    if (memoriesAreFiles) expect(memory.identity).toBe(memoryStatus(front.memory).identity);
    const bytes = Buffer.alloc(6);
    readSync(memory.descriptor, bytes, 0, 6, REGION_BYTES + 0x3000);
    expect(bytes.toString()).toBe("pixels");
    if (memoriesAreFiles) expect(() => writeSync(memory.descriptor, "x")).toThrow("EBADF");
    expect(fstatSync(front.memory).mode & 0o777).toBe(0o600);
    expect(statSync(join(front.folder, "export")).mode & 0o777).toBe(0o600);
  });

  it("sees what the guest has queued, also before its kick was noticed", async () => {
    await prepared();
    const client = await front.client();
    front.submit(create(6)).kick();
    await expect(client.acquire(6)).rejects.toMatchObject({ code: "RESOURCE_WITHOUT_BACKING" });
    // No kick at all.
    front.submit(attach(6, [[0, 4096]]));
    expect((await client.acquire(6)).extents).toEqual([{ memory: 1, offset: 0, length: 4096 }]);
  });

  it("is refused with the reason", async () => {
    const client = await front.client();
    await expect(client.acquire(1)).rejects.toMatchObject({ code: "DEVICE_NOT_READY" });
    await prepared();
    await expect(client.acquire(1)).rejects.toMatchObject({ code: "RESOURCE_UNKNOWN" });
  });

  it("gives every backing a generation of its own", async () => {
    await prepared();
    const client = await front.client();
    const first = await client.acquire(5);
    client.release(5, first.generation);
    await front.answer(detach(5));
    await front.answer(attach(5, [[0x1000, 4096]]));
    const second = await client.acquire(5);
    client.release(5, second.generation);
    await front.answer(unref(5));
    await front.answer(create(5));
    await front.answer(attach(5, [[0x1000, 4096]]));
    const third = await client.acquire(5);
    expect(new Set([first, second, third].map(({ generation }) => generation)).size).toBe(3);
  });

  it("is bounded", async () => {
    await front.startDevice();
    const client = await front.client();
    for (let id = 1; id <= LIMITS.MAX_ACQUIRED_RESOURCES + 1; id++) {
      await front.answer(create(id));
      await front.answer(attach(id, [[0x20_0000, 4096]]));
      const acquired = client.acquire(id);
      if (id <= LIMITS.MAX_ACQUIRED_RESOURCES) await acquired;
      else await expect(acquired).rejects.toMatchObject({ code: "TOO_MANY_ACQUIRED" });
    }
  });
});

describe("revoke", () => {
  it.each([
    ["UNREF", unref(5)],
    ["DETACH_BACKING", detach(5)],
  ])("holds %s until every holder has released", async (_name, command) => {
    await prepared();
    const revoked: [number, number][] = [];
    const onRevoke = (resource: number, generation: number) => void revoked.push([resource, generation]);
    const clients = [await front.client({ onRevoke }), await front.client({ onRevoke })] as const;
    const { generation } = await clients[0].acquire(5);
    await clients[1].acquire(5);
    const submitted = front.submit(command);
    submitted.kick();
    await until("both revokes", () => (revoked.length === 2 ? true : undefined));
    expect(revoked).toEqual([
      [5, generation],
      [5, generation],
    ]);
    clients[0].release(5, generation);
    await milliseconds(20);
    expect(submitted.isDone()).toBe(false);
    clients[1].release(5, generation);
    expect((await submitted.answer()).readUInt32LE(0)).toBe(OK);
  });

  it("does not hold what nobody holds any more", async () => {
    await prepared();
    const client = await front.client();
    const { generation } = await client.acquire(5);
    client.release(5, generation);
    await expect(client.acquire(99)).rejects.toThrow("99");
    const start = performance.now();
    await front.answer(unref(5));
    expect(performance.now() - start).toBeLessThan(LIMITS.REVOKE_HOLD_MS / 2);
  });

  it("waits no longer than its time, and never again for who was late", async () => {
    await prepared();
    await front.answer(create(6));
    await front.answer(attach(6, [[0, 4096]]));
    const client = await front.client();
    await client.acquire(5);
    await client.acquire(6);
    let start = performance.now();
    await front.answer(unref(5));
    const held = performance.now() - start;
    expect(held).toBeGreaterThan(LIMITS.REVOKE_HOLD_MS - 10);
    expect(held).toBeLessThan(LIMITS.REVOKE_HOLD_MS * 2);
    start = performance.now();
    await front.answer(unref(6));
    expect(performance.now() - start).toBeLessThan(LIMITS.REVOKE_HOLD_MS / 2);
  });

  it("ends with the holder's connection", async () => {
    await prepared();
    const client = await front.client({ onRevoke: () => client.close() });
    await client.acquire(5);
    const start = performance.now();
    expect(await front.answer(unref(5))).toBe(OK);
    expect(performance.now() - start).toBeLessThan(LIMITS.REVOKE_HOLD_MS / 2);
  });

  it("keeps later commands, and the answers about them, in order", async () => {
    await prepared();
    let generation = 0;
    const client = await front.client({
      onRevoke: () => void setTimeout(() => client.release(5, generation), 20),
    });
    ({ generation } = await client.acquire(5));
    const before = front.usedIndex(0);
    front.write(0x11_0000, unref(5));
    front.write(0x11_1000, create(5, 32, 32));
    front.queue(0, [{ address: 0x11_0000, length: 32, flags: 0, next: 0 }]);
    front.write(0x1000 + 16, Buffer.from([0, 0x10, 0x11, 0, 0, 0, 0, 0, 40, 0, 0, 0, 0, 0, 0, 0]));
    front.queue(0, [], 1);
    front.kick(0);
    await expect(client.acquire(5)).rejects.toMatchObject({ code: "RESOURCE_WITHOUT_BACKING" });
    expect(front.usedIndex(0)).toBe(before + 2);
  });

  it("breaks the ring when the held command's chain is made available again", async () => {
    await prepared();
    const client = await front.client();
    await client.acquire(5);
    const submitted = front.submit(unref(5));
    front.queue(0, [], 0);
    submitted.kick();
    await submitted.answer();
    expect(await front.stopDevice()).toHaveLength(2);
  });

  it("ends at once when the VM stops, and the ring goes on behind it", async () => {
    await prepared();
    const client = await front.client();
    await client.acquire(5);
    const submitted = front.submit(unref(5));
    submitted.kick();
    await milliseconds(10);
    const start = performance.now();
    const bases = await front.stopDevice();
    expect(performance.now() - start).toBeLessThan(LIMITS.REVOKE_HOLD_MS / 2);
    expect(submitted.isDone()).toBe(true);
    await front.startDevice({ bases });
    expect(await front.answer(create(5))).toBe(OK);
  });

  it("is sent on a reset, which waits for nobody", async () => {
    await prepared();
    const revoked: number[] = [];
    const client = await front.client({ onRevoke: (resource) => void revoked.push(resource) });
    await client.acquire(5);
    await front.stopDevice();
    front.send(34);
    await until("the revoke", () => (revoked.length > 0 ? true : undefined));
    await expect(client.acquire(5)).rejects.toMatchObject({ code: "DEVICE_NOT_READY" });
  });
});

describe("notices", () => {
  it("tells scanouts and damage, and the present scanouts to who comes later", async () => {
    await prepared();
    const seen: unknown[] = [];
    const events = {
      onScanout: (...scanout: unknown[]) => void seen.push(["scanout", ...scanout]),
      onDamage: (...damage: unknown[]) => void seen.push(["damage", ...damage]),
    };
    const nothing = { x: 0, y: 0, width: 0, height: 0 };
    const all = { x: 0, y: 0, width: 64, height: 64 };
    await front.client(events);
    await front.answer(setScanout(1, 5));
    await front.answer(flush(5, [10, 20, 30, 40]));
    await until("the damage", () => (seen.length === 4 ? true : undefined));
    expect(seen.splice(0)).toEqual([
      ["scanout", 0, 0, nothing],
      ["scanout", 1, 0, nothing],
      ["scanout", 1, 5, all],
      ["damage", 1, { x: 10, y: 20, width: 30, height: 40 }],
    ]);
    await front.client(events);
    await until("the scanouts", () => (seen.length === 2 ? true : undefined));
    expect(seen).toEqual([
      ["scanout", 0, 0, nothing],
      ["scanout", 1, 5, all],
    ]);
  });

  it("tells damage in the head's picture", async () => {
    await prepared();
    const seen: unknown[] = [];
    await front.client({ onDamage: (...damage) => void seen.push(damage) });
    await front.answer(gpuCommand(0x103, [16, 16, 32, 32, 0, 5]));
    await front.answer(flush(5, [0, 0, 20, 64]));
    await front.answer(flush(5, [50, 0, 10, 64]));
    await until("the damage", () => (seen.length > 0 ? true : undefined));
    expect(seen).toEqual([[0, { x: 0, y: 0, width: 4, height: 32 }]]);
  });
});

describe("a bad relay", () => {
  function rawClient(): { socket: FdSocket; isClosed(): boolean } {
    let closed = false;
    const buffer = Buffer.alloc(4096);
    const socket: FdSocket = new FdSocket(
      connectUnix(join(front.folder, "export")),
      {
        onReadable: () => {
          const received = socket.receive(buffer, 0, buffer.length);
          if (received.kind === "end") socket.close();
          if (received.kind === "bytes") received.descriptors.forEach(closeDescriptor);
        },
        onClose: () => {
          closed = true;
        },
      },
      1 << 20,
    );
    return { socket, isClosed: () => closed };
  }

  it.each<readonly [string, Buffer]>([
    ["an absurd length", Buffer.from([0xff, 0xff, 0xff, 0xff])],
    ["a length of 0", Buffer.alloc(4)],
    ["no protobuf", Buffer.from([3, 0, 0, 0, 0xff, 0xff, 0xff])],
    ["an exporter's message", encodeExportMessage({ type: "revoke", resource: 1, generation: 1 })],
  ])("is disconnected for %s", async (_what, bytes) => {
    await prepared();
    const { socket, isClosed } = rawClient();
    socket.send(bytes);
    await until("the end", () => (isClosed() ? true : undefined));
    expect(await front.answer(create(6))).toBe(OK);
  });

  it("is disconnected for a descriptor, which is not kept", async () => {
    await prepared();
    const { socket, isClosed } = rawClient();
    await milliseconds(10);
    const before = readdirSync("/proc/self/fd").length;
    socket.send(encodeExportMessage({ type: "acquire", request: 1, resource: 1 }), [front.memory]);
    await until("the end", () => (isClosed() ? true : undefined));
    // Both ends of the connection were ours.
    expect(readdirSync("/proc/self/fd").length).toBe(before - 2);
  });

  it("that does not read is disconnected, and the guest does not notice", { timeout: 60_000 }, async () => {
    await prepared();
    await front.answer(setScanout(0, 5));
    const fd = connectUnix(join(front.folder, "export"));
    const count = () => readdirSync("/proc/self/fd").length;
    await milliseconds(10);
    const before = count();
    const pages = Array.from({ length: 12_000 }, (_, i) => [((i % 2) + 1) * 0x1000, 4096] as const);
    await front.answer(create(6));
    const big = attach(6, pages);
    front.write(HIGH_ADDRESS, big);
    front.queue(0, [
      { address: HIGH_ADDRESS, length: big.length, flags: 1, next: 1 },
      { address: 0x18_0000, length: 24, flags: 2, next: 0 },
    ]);
    front.kick(0);
    const acquire = encodeExportMessage({ type: "acquire", request: 1, resource: 6 });
    const sender = new FdSocket(fd, { onReadable: () => undefined, onClose: () => undefined }, 1 << 20);
    for (let i = 0; i < 200 && count() === before; i++) {
      sender.send(acquire);
      await milliseconds(2);
    }
    expect(count()).toBe(before - 1);
    expect(await front.answer(create(7))).toBe(OK);
    sender.close();
  });
});

describe("the client", () => {
  it("rejects what is pending when the exporter goes", async () => {
    await prepared();
    let closed = 0;
    const client = await front.client({ onClose: () => closed++ });
    const pending = client.acquire(5);
    client.close();
    await expect(pending).rejects.toBeInstanceOf(ExportClosedError);
    await expect(client.acquire(5)).rejects.toBeInstanceOf(ExportClosedError);
    expect(closed).toBe(1);
  });

  it("keeps a hold that is taken anew while the old one is released", async () => {
    await prepared();
    const client = await front.client();
    const { generation } = await client.acquire(5);
    const again = client.acquire(5);
    client.release(5, generation);
    expect((await again).generation).toBe(generation);
    const start = performance.now();
    await front.answer(unref(5));
    expect(performance.now() - start).toBeGreaterThan(LIMITS.REVOKE_HOLD_MS - 10);
  });
});

describe("the codec", () => {
  const rectangle = { x: 1, y: 2, width: 3, height: 4 };
  const messages: readonly ExportMessage[] = [
    { type: "hello", version: 1, exporter: "test" },
    { type: "memory", memory: 1, size: 2 ** 40, descriptor: 77 },
    { type: "acquire", request: 1, resource: 2 },
    {
      type: "acquired",
      request: 1,
      resource: 2,
      generation: 2 ** 50,
      width: 3,
      height: 4,
      format: 1,
      extents: [{ memory: 1, offset: 2 ** 33, length: 4096 }],
    },
    { type: "refused", request: 1, resource: 2, code: "DEVICE_NOT_READY", text: "no" },
    { type: "release", resource: 1, generation: 2 },
    { type: "revoke", resource: 1, generation: 2 },
    { type: "scanout", head: 1, resource: 2, rectangle },
    { type: "damage", head: 1, rectangle },
  ];

  it.each([1, 3, 7, 100_000])("returns every message, cut into pieces of %i bytes", (size) => {
    const decoder = new ExportDecoder(LIMITS.MAX_EXPORT_MESSAGE_BYTES, 1, () => undefined);
    const bytes = Buffer.concat(messages.map(encodeExportMessage));
    const decoded: ExportMessage[] = [];
    for (let at = 0; at < bytes.length; at += size) {
      decoded.push(...decoder.push(bytes.subarray(at, at + size), at === 0 ? [77] : []));
    }
    expect(decoded).toEqual(messages);
  });

  it("refuses numbers that a double cannot hold", () => {
    const decoder = new ExportDecoder(LIMITS.MAX_EXPORT_MESSAGE_BYTES, 1, () => undefined);
    const bytes = encodeExportMessage({ type: "release", resource: 1, generation: 2 ** 60 });
    expect(() => [...decoder.push(bytes, [])]).toThrow("Release.generation");
  });
});
