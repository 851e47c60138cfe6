import { fstatSync, readdirSync, readSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ExportClosedError } from "../../../host/export/client.ts";
import { FdSocket } from "../../../host/native/fd-socket.ts";
import { connectUnix } from "../../../host/native/listener.ts";
import { closeDescriptor, memoryStatus } from "../../../host/native/os-addon.ts";
import { encodeExportMessage } from "../../../proto/export.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { memoriesAreFiles } from "../portable/platform.ts";
import {
  attach,
  create,
  detach,
  exportResource,
  flush,
  front,
  gpuCommand,
  HIGH_ADDRESS,
  REGION_BYTES,
  setScanout,
  unref,
  useFrontEnd,
} from "./front-end.ts";
import { until } from "./vhost-socket.ts";

const OK = 0x1100;
useFrontEnd((starting) => starting.negotiate());

const HELLO = encodeExportMessage({ type: "hello", version: LIMITS.EXPORT_VERSION, software: "test" });
const acquire = (resource: number): Buffer =>
  encodeExportMessage({ type: "acquire", request: 1, resource, content: "CONTENT_UNSPECIFIED", bytes: 0 });

const openDescriptors = (): number => readdirSync("/proc/self/fd").length;

/** Both ends of a new connection to the export socket are in this process. */
const accepted = (before: number) => until("the connection", () => openDescriptors() === before + 2);

describe("acquire", () => {
  it("returns where the bytes are, in a read-only memory", async () => {
    await exportResource(front);
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
    await exportResource(front);
    const client = await front.client();
    front.submit(create(6));
    await expect(client.acquire(6)).rejects.toMatchObject({ code: "RESOURCE_WITHOUT_BACKING" });
    // No kick at all.
    front.submitSilently(attach(6, [[0, 4096]]));
    expect((await client.acquire(6)).extents).toEqual([{ memory: 1, offset: 0, length: 4096 }]);
  });

  it("is refused with the reason", async () => {
    const client = await front.client();
    await expect(client.acquire(1)).rejects.toMatchObject({ code: "DEVICE_NOT_READY" });
    await exportResource(front);
    await expect(client.acquire(1)).rejects.toMatchObject({ code: "RESOURCE_UNKNOWN" });
  });

  it("gives every backing a generation of its own", async () => {
    await exportResource(front);
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

  it("of rendered pixels is refused: this GPU has none", async () => {
    await exportResource(front);
    const client = await front.client();
    const rendered = client.acquire(5, { content: "RENDERED", bytes: 0 });
    await expect(rendered).rejects.toMatchObject({ code: "RESOURCE_UNREADABLE" });
    expect((await client.acquire(5, { content: "PAGES", bytes: 0 })).extents).toHaveLength(2);
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

describe("notices", () => {
  it("announce scanouts and damage, and the present scanouts to a relay that connects later", async () => {
    await exportResource(front);
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
    await until("the damage", () => seen.length === 4);
    expect(seen.splice(0)).toEqual([
      ["scanout", 0, 0, nothing],
      ["scanout", 1, 0, nothing],
      ["scanout", 1, 5, all],
      ["damage", 1, { x: 10, y: 20, width: 30, height: 40 }],
    ]);
    await front.client(events);
    await until("the scanouts", () => seen.length === 2);
    expect(seen).toEqual([
      ["scanout", 0, 0, nothing],
      ["scanout", 1, 5, all],
    ]);
  });

  it("announce damage in the head's coordinates", async () => {
    await exportResource(front);
    const seen: unknown[] = [];
    await front.client({ onDamage: (...damage) => void seen.push(damage) });
    await front.answer(gpuCommand(0x103, [16, 16, 32, 32, 0, 5]));
    await front.answer(flush(5, [0, 0, 20, 64]));
    await front.answer(flush(5, [50, 0, 10, 64]));
    await until("the damage", () => seen.length > 0);
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
    [
      "an exporter's message",
      Buffer.concat([HELLO, encodeExportMessage({ type: "revoke", resource: 1, generation: 1 })]),
    ],
    ["a request without a Hello, as of version 1", acquire(5)],
    ["another version", encodeExportMessage({ type: "hello", version: 1, software: "old" })],
  ])("is disconnected for %s", async (_what, bytes) => {
    await exportResource(front);
    const { socket, isClosed } = rawClient();
    socket.send(bytes);
    await until("the end", () => isClosed());
    expect(await front.answer(create(6))).toBe(OK);
  });

  it("is disconnected for a descriptor, which is not kept", async () => {
    await exportResource(front);
    const before = openDescriptors();
    const { socket, isClosed } = rawClient();
    await accepted(before);
    socket.send(Buffer.concat([HELLO, acquire(1)]), [front.memory]);
    await until("the end", () => isClosed());
    expect(openDescriptors()).toBe(before);
  });

  it("that does not read is disconnected, without effect on the guest", async () => {
    await exportResource(front);
    await front.answer(setScanout(0, 5));
    const before = openDescriptors();
    const fd = connectUnix(join(front.folder, "export"));
    await accepted(before);
    const pages = Array.from({ length: 12_000 }, (_, i) => [((i % 2) + 1) * 0x1000, 4096] as const);
    await front.answer(create(6));
    const big = attach(6, pages);
    front.write(HIGH_ADDRESS, big);
    front.queue(0, [
      { address: HIGH_ADDRESS, length: big.length, flags: 1, next: 1 },
      { address: 0x18_0000, length: 24, flags: 2, next: 0 },
    ]);
    front.kick(0);
    const sender = new FdSocket(fd, { onReadable: () => undefined, onClose: () => undefined }, 1 << 20);
    sender.send(HELLO);
    await until("the disconnection", () => {
      if (openDescriptors() < before + 2) return true;
      sender.send(acquire(6));
      return undefined;
    });
    expect(await front.answer(create(7))).toBe(OK);
    sender.close();
    expect(openDescriptors()).toBe(before);
  });
});

describe("the client", () => {
  it("rejects pending requests when the exporter disconnects", async () => {
    await exportResource(front);
    let closed = 0;
    const client = await front.client({ onClose: () => closed++ });
    const pending = client.acquire(5);
    client.close();
    await expect(pending).rejects.toBeInstanceOf(ExportClosedError);
    await expect(client.acquire(5)).rejects.toBeInstanceOf(ExportClosedError);
    expect(closed).toBe(1);
  });
});
