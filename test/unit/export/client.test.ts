/** The relay's end of the export protocol against an exporter that sends whatever a test wants. */
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ExportChannel } from "../../../host/export/channel.ts";
import { ExportClient, type ExportedResource } from "../../../host/export/client.ts";
import { FdListener } from "../../../host/native/listener.ts";
import { closeDescriptor, createMemory } from "../../../host/native/os-addon.ts";
import type { ExportMessage, Extent } from "../../../proto/export.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { temporaryFolder } from "../../support/folder.ts";
import { until } from "../../support/until.ts";

const BYTES = 8192;
const HELLO = { type: "hello", version: LIMITS.EXPORT_VERSION, software: "test" } as const;

const path = join(temporaryFolder(), "export");
let listener: FdListener;
let channel: ExportChannel | undefined;
let received: ExportMessage[];
let ended: Error | undefined | "open";
let resets: number;
let revoked: number[];

beforeEach(() => {
  received = [];
  ended = "open";
  resets = 0;
  revoked = [];
  listener = FdListener.listen(path, (fd) => {
    const limits = {
      maxMessageBytes: LIMITS.MAX_EXPORT_REQUEST_BYTES,
      maxDescriptors: 0,
      maxQueuedBytes: 1 << 20,
      turnBytes: 1 << 16,
    };
    channel = new ExportChannel(fd, limits, {
      onMessage: (message) => {
        received.push(message);
      },
      onClose: () => undefined,
    });
  });
});
afterEach(() => {
  channel?.close();
  channel = undefined;
  listener.close();
});

/** Connects, with an exporter that says Hello. */
async function connect(hello: ExportMessage = HELLO): Promise<ExportClient> {
  const connecting = ExportClient.connect(path, {
    onRevoke: (resource) => revoked.push(resource),
    onReset: () => {
      resets += 1;
    },
    onClose: (error) => {
      ended = error;
    },
  });
  (await until(() => channel, "the connection")).send(hello);
  return await connecting;
}

const send = (message: ExportMessage): void => channel?.send(message);

/** The newest message of a type that the relay has sent. */
function sent<Type extends ExportMessage["type"]>(type: Type, count = 1) {
  type Sent = Extract<ExportMessage, { type: Type }>;
  return until(() => {
    const found = received.filter((message): message is Sent => message.type === type);
    return found.length >= count ? found.at(-1) : undefined;
  }, `${count} × ${type}`);
}

/** Answers an Acquire of a resource that comes by Read. */
async function acquire(client: ExportClient): Promise<ExportedResource> {
  const acquiring = client.acquire(5, { content: "RENDERED", bytes: BYTES });
  const { request } = await sent("acquire");
  const resource = { resource: 5, generation: 7, width: 64, height: 32, format: 1, extents: [] };
  send({ type: "acquired", request, ...resource, readable: { stride: 256, bytes: BYTES } });
  return await acquiring;
}

/** A Slot message; the descriptor is closed when it was sent. */
async function sendSlot(slot: number, bytes = BYTES, announced = bytes): Promise<void> {
  const descriptor = createMemory("slot", bytes);
  send({ type: "slot", slot, bytes: announced, descriptor });
  // The exporter's copies are its own.
  setImmediate(() => closeDescriptor(descriptor));
  await new Promise(setImmediate);
}

const done = { code: undefined, text: "", waitUs: 1, copyUs: 2 };

describe("the relay's hello", () => {
  it("answers the exporter's, with its own name", async () => {
    await connect();
    expect(await sent("hello")).toMatchObject({
      version: LIMITS.EXPORT_VERSION,
      software: expect.stringMatching(/^vsockenc relay /),
    });
  });

  it("is not sent to another version, which gets a sentence", async () => {
    await expect(connect({ ...HELLO, version: 1 })).rejects.toThrow(
      "the exporter has protocol version 1, this relay 2: update the older one",
    );
    expect(received).toEqual([]);
  });

  it("comes before anything else", async () => {
    await expect(connect({ type: "reset" })).rejects.toThrow("expected hello from the exporter, got reset");
  });
});

describe("a resource that was described", () => {
  const size = { resource: 5, generation: 7, width: 64, height: 32, format: 1 };

  /** Sends what `answer` makes of the newest Acquire, and returns that Acquire with its result. */
  async function acquired(client: ExportClient, count: number, answer: { extents?: Extent[]; known?: true }) {
    const acquiring = client.acquire(5, { content: "PAGES", bytes: count === 3 ? 2 * BYTES : BYTES });
    const asked = await sent("acquire", count);
    send({ type: "acquired", request: asked.request, ...size, extents: [], ...answer });
    return { asked, resource: await acquiring };
  }

  it("is remembered beyond its release, for as many bytes and by its generation", async () => {
    const client = await connect();
    const descriptor = createMemory("memory", 2 * BYTES);
    send({ type: "memory", memory: 1, size: 2 * BYTES, descriptor });
    const extents = [{ memory: 1, offset: 0, length: BYTES }];
    const first = await acquired(client, 1, { extents });
    client.release(5, 7);
    const second = await acquired(client, 2, { known: true });
    const third = await acquired(client, 3, { extents: [{ memory: 1, offset: 0, length: 2 * BYTES }] });
    expect([first, second, third].map(({ asked }) => asked.known)).toEqual([0, 7, 0]);
    expect(second.resource).toBe(first.resource);
    send({ type: "revoke", resource: 5, generation: 7 });
    await until(() => revoked.length > 0, "the revocation");
    const lie = client.acquire(5, { content: "PAGES", bytes: BYTES });
    const { request, known } = await sent("acquire", 4);
    expect(known).toBe(0);
    send({ type: "acquired", request, ...size, extents: [], known: true });
    await expect(lie).rejects.toThrow("resource 5 is not known, and is not described");
    closeDescriptor(descriptor);
  });
});

describe("an exporter", () => {
  it("that revokes what was never held is disconnected", async () => {
    await connect();
    for (let n = 1; n <= LIMITS.MAX_ACQUIRED_RESOURCES + 1; n++)
      send({ type: "revoke", resource: n, generation: n });
    const error = await until(() => ended !== "open" && ended, "the end");
    expect(String(error)).toContain("more than 1024 resources are revoked");
  });
});

describe("a read", () => {
  it("settles with the times, and its slot has the memory that was sent", async () => {
    const client = await connect();
    const resource = await acquire(client);
    const [slot = -1] = client.slots.take(1) ?? [];
    const reading = client.read(resource, slot);
    const { request, ...read } = await sent("read");
    expect(read).toMatchObject({ resource: 5, generation: 7, slot });
    await sendSlot(slot);
    send({ type: "readDone", request, slot, ...done });
    expect(await reading).toEqual({ waitUs: 1, copyUs: 2 });
    expect(client.slots.memory(slot)?.bytes).toBe(BYTES);
    client.slots.free(slot);
    expect(await sent("free")).toMatchObject({ slot, discard: false });
    client.slots.discard(slot);
    expect(await sent("free", 2)).toMatchObject({ slot, discard: true });
    expect(client.slots.memory(slot)).toBeUndefined();
  });

  it("rejects with the exporter's reason, and when the connection ends", async () => {
    const client = await connect();
    const resource = await acquire(client);
    const reading = client.read(resource, 0);
    const { request } = await sent("read");
    const refusal = { code: "DEVICE_NOT_READY", text: "reset" } as const;
    send({ type: "readDone", request, slot: 0, ...done, ...refusal });
    await expect(reading).rejects.toThrow("resource 5: reset (DEVICE_NOT_READY)");
    const lost = client.read(resource, 1);
    await sent("read", 2);
    channel?.close();
    await expect(lost).rejects.toThrow("the connection to the exporter is closed");
    await expect(client.read(resource, 2)).rejects.toThrow("the connection to the exporter is closed");
  });

  it("survives a reset, which is reported", async () => {
    const client = await connect();
    const reading = client.read(await acquire(client), 0);
    const { request } = await sent("read");
    send({ type: "reset" });
    await until(() => resets > 0, "the reset");
    send({ type: "readDone", request, slot: 0, ...done });
    await reading;
  });
});

describe("slots", () => {
  it("are taken all or none", async () => {
    const { slots } = await connect();
    expect(slots.take(LIMITS.MAX_SLOTS + 1)).toBeUndefined();
    expect(slots.take(LIMITS.MAX_SLOTS)?.length).toBe(LIMITS.MAX_SLOTS);
    expect(slots.take(1)).toBeUndefined();
    slots.discard(3);
    expect(slots.take(1)).toEqual([3]);
  });
});

describe("an exporter is disconnected for", () => {
  it.each<readonly [string, (client: ExportClient) => Promise<void> | void, string]>([
    [
      "a memory for a slot that nobody uses",
      async () => await sendSlot(0),
      "a memory for slot 0, which is not in use",
    ],
    [
      "a memory for a slot beyond the limit",
      async () => await sendSlot(LIMITS.MAX_SLOTS),
      `a memory for slot ${LIMITS.MAX_SLOTS}`,
    ],
    [
      "a slot's memory that is smaller than announced",
      async (client) => {
        client.slots.take(1);
        await sendSlot(0, BYTES, 1 << 24);
      },
      `bytes, the exporter announced ${1 << 24}`,
    ],
    [
      "a slot without bytes",
      async (client) => {
        client.slots.take(1);
        await sendSlot(0, BYTES, 0);
      },
      "the exporter announced 0",
    ],
    [
      "an answer to no read",
      () => send({ type: "readDone", request: 77, slot: 0, ...done }),
      "an answer to the unknown read 77 into slot 0",
    ],
    ["a relay's message", () => send({ type: "free", slot: 0, discard: true }), "which only a relay sends"],
  ])("%s", async (_what, misbehave, text) => {
    const client = await connect();
    await misbehave(client);
    const error = await until(() => ended !== "open" && ended, "the disconnection");
    expect(error?.message).toContain(text);
  });

  it("an answer that names another slot", async () => {
    const client = await connect();
    const reading = client.read(await acquire(client), 0);
    const { request } = await sent("read");
    send({ type: "readDone", request, slot: 1, ...done });
    await expect(reading).rejects.toThrow("unknown read");
  });

  it("two answers to one read", async () => {
    const client = await connect();
    const reading = client.read(await acquire(client), 0);
    const { request } = await sent("read");
    for (let n = 0; n < 2; n++) send({ type: "readDone", request, slot: 0, ...done });
    await reading;
    const error = await until(() => ended !== "open" && ended, "the disconnection");
    expect(error?.message).toContain("unknown read");
  });
});
