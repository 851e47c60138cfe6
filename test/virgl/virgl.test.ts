import { once } from "node:events";
import { existsSync, statSync, writeSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { encodeExportMessage } from "../../proto/export.ts";
import { LIMITS } from "../../proto/limits.ts";
import { temporaryFolder } from "../support/folder.ts";
import { BUILD_HANG_MS } from "../support/hang.ts";
import { until } from "../support/until.ts";
import { type Format, painted, withoutPadding, written } from "./picture.ts";
import { compileVirglHost, type GraphicsApi, type Loading, VirglHost } from "./program.ts";
import { TestRelay } from "./relay.ts";

/** VIRGL_FORMAT_* */
const BGRA = 1;
const BGRX = 2;
const RGB565 = 7;
const PAGE = 4096;
const NO_CODE = { code: undefined, text: "" };

let programs: string;
beforeAll(() => {
  programs = compileVirglHost();
}, BUILD_HANG_MS);

describe.each([
  ["preload", "gl"],
  ["replace", "gles"],
  ["sanitized", "gl"],
  ["sanitized", "gles"],
] as const)("the exporter inside QEMU (%s, %s)", (loading: Loading, api: GraphicsApi) => {
  const folder = temporaryFolder();
  const socket = join(folder, "export");
  let host: VirglHost;
  let relays: (TestRelay | Socket)[];

  beforeEach(async () => {
    relays = [];
    host = await VirglHost.start(programs, { loading, api, socket });
  });
  afterEach(async () => {
    for (const relay of relays) relay instanceof TestRelay ? relay.close() : relay.destroy();
    // A leak or a sanitizer's report makes another status.
    expect(await host.end(), host.log).toBe(0);
  });

  /** A relay that the exporter has greeted. */
  async function connect(hello?: number): Promise<TestRelay> {
    const relay = new TestRelay(socket, hello);
    relays.push(relay);
    await relay.next("hello");
    return relay;
  }

  /** A program that connects and may send anything. */
  function connectRaw(): Socket {
    const raw = createConnection(socket);
    raw.on("error", () => {});
    relays.push(raw);
    return raw;
  }

  /** Once the exporter has nothing open that it did not have before. */
  async function expectDescriptors(count: number): Promise<void> {
    await until(async () => (await host.descriptors()) === count, `${count} descriptors are open`);
  }

  describe("Hello", () => {
    it("is said by both sides", async () => {
      const relay = new TestRelay(socket);
      relays.push(relay);
      const hello = await relay.next("hello");
      expect(hello.version).toBe(LIMITS.EXPORT_VERSION);
      expect(hello.software).toMatch(/^vsockenc virgl /);
      expect(await relay.tryAcquire(1)).toMatchObject({ type: "refused", code: "RESOURCE_UNKNOWN" });
    });

    it("of another version is refused with a sentence", async () => {
      const relay = await connect(LIMITS.EXPORT_VERSION + 1);
      await relay.ended();
      expect(host.log).toContain(`speaks version ${LIMITS.EXPORT_VERSION + 1} of the export protocol`);
    });

    it("is required: a relay of the older version is refused with a sentence", async () => {
      await host.command(`texture 1 64 64 ${BGRX}`);
      const raw = connectRaw();
      const received: Buffer[] = [];
      raw.on("data", (bytes) => received.push(bytes));
      const acquire = { request: 1, resource: 1, content: "RENDERED", bytes: 0 } as const;
      raw.write(encodeExportMessage({ type: "acquire", ...acquire }));
      await once(raw, "close");
      expect(host.log).toContain("its first message is not Hello");
      // The exporter's own Hello, and no answer.
      const bytes = Buffer.concat(received);
      expect(bytes.readUInt32LE(0)).toBe(bytes.length - 4);
    });
  });

  describe("pages", () => {
    it.each([1, 3])("are exported in place, in runs of %i pages", async (run) => {
      await host.commands(`dumb 7 100 100 ${run}`, "write 7 5");
      const relay = await connect();
      const acquired = await relay.acquire(7, "PAGES");
      const bytes = 100 * 100 * 4;
      expect(acquired).toMatchObject({ width: 100, height: 100, format: BGRX, readable: undefined });
      expect(acquired.extents.length).toBe(Math.ceil(bytes / (run * PAGE)));
      expect(relay.pages(acquired)).toEqual(written(bytes, 5));
      await host.command("write 7 6");
      expect(relay.pages(acquired)).toEqual(written(bytes, 6));
      const again = {
        request: 99,
        resource: 7,
        content: "PAGES",
        bytes: 0,
        known: acquired.generation,
      } as const;
      relay.send({ type: "acquire", ...again });
      expect(await relay.next("acquired")).toMatchObject({ known: true, extents: [] });
      // Another one lies in the same memory, which is not sent again.
      await host.commands("dumb 8 16 16 1", "write 8 9");
      expect(relay.pages(await relay.acquire(8, "PAGES"))).toEqual(written(16 * 16 * 4, 9));
    });

    it("are those that are asked for, and read-only", async () => {
      await host.command("dumb 7 100 100 1");
      const relay = await connect();
      const { extents } = await relay.acquire(7, "PAGES", PAGE + 1);
      expect(extents.map(({ length }) => length)).toEqual([PAGE, 1]);
      const descriptor = relay.memoryDescriptor(extents[0]?.memory ?? 0);
      expect(() => writeSync(descriptor, "x")).toThrow("EBADF");
    });

    it("are refused with the reason: none, or private memory", async () => {
      await host.commands(`texture 1 64 64 ${BGRX}`, "dumb 2 64 64 0");
      const relay = await connect();
      expect(await relay.tryAcquire(1, "PAGES")).toMatchObject({ code: "RESOURCE_WITHOUT_BACKING" });
      const refusal = await relay.tryAcquire(2, "PAGES");
      expect(refusal).toMatchObject({ code: "RESOURCE_NOT_SHAREABLE", text: /memory-backend-memfd/ });
    });

    it("are another generation after DETACH, and revoked", async () => {
      await host.command("dumb 7 64 64 1");
      const relay = await connect();
      const { generation } = await relay.acquire(7);
      await host.command("detach 7");
      expect(await relay.next("revoke")).toEqual({ type: "revoke", resource: 7, generation });
      expect(await relay.tryAcquire(7)).toMatchObject({ code: "RESOURCE_WITHOUT_BACKING" });
    });
  });

  describe("rendered resources", () => {
    it.each<[number, number, Format]>([
      [640, 480, 1],
      [1366, 768, 2],
      [33, 17, 67],
      [64, 64, 134],
      [130, 50, 64],
      [65, 50, 65],
    ])("are read bit for bit: %i×%i, format %i", async (width, height, format) => {
      await host.commands(`texture 1 ${width} ${height} ${format}`, "paint 1 5");
      const relay = await connect();
      const acquired = await relay.acquire(1, "RENDERED");
      const expected = painted(width, height, format, 5);
      expect(acquired).toMatchObject({ width, height, format, extents: [] });
      expect(acquired.readable).toEqual({ stride: expected.length / height, bytes: expected.length });
      const pixels = await relay.read(1, acquired.generation);
      expect(withoutPadding(pixels, format).equals(expected)).toBe(true);
    });

    it("made by CREATE_2D are upright", async () => {
      await host.commands("dumb 1 100 50 1", "write 1 3", "upload 1", "write 1 77");
      const pixels = await (await connect()).readRendered(1);
      const expected = withoutPadding(written(100 * 50 * 4, 3), BGRX);
      expect(withoutPadding(pixels, BGRX).equals(expected)).toBe(true);
    });

    it("are the default, except for CREATE_2D and blobs of pages", async () => {
      await host.commands(`texture 1 64 64 ${BGRX}`, "dumb 2 64 64 1", "guestblob 3 8192", "hostblob 4 8192");
      const relay = await connect();
      const isRead = async (resource: number) => (await relay.acquire(resource)).readable !== undefined;
      expect([await isRead(1), await isRead(2), await isRead(3), await isRead(4)]).toEqual([
        true,
        false,
        false,
        true,
      ]);
    });

    it("that are no pictures are refused", async () => {
      await host.commands("buffer 1 4096", `texture 2 64 64 ${RGB565}`);
      const relay = await connect();
      expect(await relay.tryAcquire(1)).toMatchObject({ code: "RESOURCE_UNREADABLE", text: /not a picture/ });
      expect(await relay.tryAcquire(2)).toMatchObject({ code: "RESOURCE_UNREADABLE", text: /format/ });
    });

    it("include blobs: pages of the guest, and memory of the host that QEMU may map, too", async () => {
      await host.commands("guestblob 1 8192", "write 1 7", "hostblob 2 8192", "map 2 9");
      const relay = await connect();
      // A blob of pages has nothing else, whoever draws.
      expect(relay.pages(await relay.acquire(1, "RENDERED"))).toEqual(written(8192, 7));
      const { generation, readable } = await relay.acquire(2);
      expect(readable).toEqual({ stride: 0, bytes: 8192 });
      expect(await relay.read(2, generation)).toEqual(written(8192, 9));
      // Mapped by QEMU or by the exporter, in any order.
      await host.command("unmap 2");
      expect(await relay.read(2, generation)).toEqual(written(8192, 9));
      await host.command("map 2 10");
      expect(await relay.read(2, generation)).toEqual(written(8192, 10));
      await host.commands("unmap 2", "map 2 11", "unmap 2");
      expect(await relay.read(2, generation)).toEqual(written(8192, 11));
      await host.command("unref 2");
      expect(await relay.next("revoke")).toMatchObject({ resource: 2 });
    });
  });

  describe("Read", () => {
    it("comes after every command that was queued before it", async () => {
      await host.commands(`texture 1 64 64 ${BGRA}`, `texture 2 1024 1024 ${BGRA}`);
      const relay = await connect();
      const { generation } = await relay.acquire(1);
      for (let seed = 0; seed < 100; seed++) {
        // While QEMU has work, the command and the request arrive: its next turn finds both.
        const work = host.command(`paint 2 ${seed}`);
        await new Promise(setImmediate);
        const painting = host.command(`paint 1 ${seed}`);
        const pixels = await relay.read(1, generation);
        expect(pixels.equals(painted(64, 64, BGRA, seed)), `picture ${seed}`).toBe(true);
        await Promise.all([work, painting]);
      }
    });

    it("waits for the GPU and lets QEMU work meanwhile", async () => {
      await host.commands(`texture 1 1024 1024 ${BGRA}`, "busy 1 60", "paint 1 7");
      const relay = await connect();
      const { generation } = await relay.acquire(1);
      relay.startRead(1, generation, 0);
      let done = false;
      const read = relay.next("readDone").then((message) => {
        done = true;
        return message;
      });
      const before: boolean[] = [];
      for (let count = 0; count < 3; count++) {
        await host.command("descriptors");
        before.push(!done);
      }
      expect(before).toContain(true);
      const answer = await read;
      expect(answer).toMatchObject(NO_CODE);
      expect(answer.waitUs).toBeGreaterThan(answer.copyUs);
      expect(relay.slot(0).equals(painted(1024, 1024, BGRA, 7))).toBe(true);
    });

    it("of clients takes turns", async () => {
      await host.commands(`texture 1 1024 1024 ${BGRA}`, "busy 1 10", "paint 1 7");
      const [greedy, modest] = [await connect(), await connect()];
      const { generation } = await greedy.acquire(1);
      const order: string[] = [];
      const count = async (relay: TestRelay, name: string, reads: number): Promise<void> => {
        for (let read = 0; read < reads; read++) {
          await relay.next("readDone");
          order.push(name);
        }
      };
      for (let slot = 0; slot < LIMITS.MAX_SLOTS; slot++) greedy.startRead(1, generation, slot);
      modest.startRead(1, generation, 0);
      await Promise.all([count(greedy, "greedy", LIMITS.MAX_SLOTS), count(modest, "modest", 1)]);
      expect(order.indexOf("modest")).toBeLessThan(LIMITS.MAX_SLOTS / 2);
    });

    it.each([
      ["unref 1", "RESOURCE_UNKNOWN"],
      ["detach 1", "RESOURCE_UNKNOWN"],
    ] as const)("is answered when the guest does %s meanwhile", async (command, code) => {
      await host.commands("dumb 1 512 512 1", "busy 1 20");
      const relay = await connect();
      const { generation } = await relay.acquire(1, "RENDERED");
      const request = relay.startRead(1, generation, 3);
      await host.command(command);
      const messages = [await relay.next("revoke", "readDone"), await relay.next("revoke", "readDone")];
      const answer = messages.find(({ type }) => type === "readDone");
      // The copy may have been made before, on a fast machine.
      expect(answer).toMatchObject({ request, slot: 3 });
      if (messages[0]?.type === "revoke") expect(answer).toMatchObject({ code });
      // The slot is free.
      await host.commands(`texture 2 64 64 ${BGRA}`, "paint 2 1");
      const other = await relay.acquire(2);
      if (messages[0]?.type === "readDone") relay.send({ type: "free", slot: 3, discard: false });
      expect((await relay.read(2, other.generation, 3)).equals(painted(64, 64, BGRA, 1))).toBe(true);
    });

    it("is answered at a reset, which ends every hold", async () => {
      await host.commands(`texture 1 512 512 ${BGRA}`, "busy 1 40");
      const relay = await connect();
      const { generation } = await relay.acquire(1);
      for (let slot = 0; slot < 3; slot++) relay.startRead(1, generation, slot);
      relay.send({ type: "acquire", request: 0, resource: 2, content: "PAGES", bytes: 0 });
      // Answered behind the reads' arrival; a fast machine may have finished some of them.
      let message = await relay.next("refused", "readDone");
      const answers: (string | undefined)[] = [];
      while (message.type === "readDone") {
        answers.push(message.code);
        message = await relay.next("refused", "readDone");
      }
      await host.command("reset");
      let end = await relay.next("reset", "readDone");
      while (end.type === "readDone") {
        answers.push(end.code);
        end = await relay.next("reset", "readDone");
      }
      expect(answers).toHaveLength(3);
      expect(answers.filter((code) => code !== undefined && code !== "DEVICE_NOT_READY")).toEqual([]);
      // Those that were read keep their picture until they are freed.
      answers.forEach((code, slot) => {
        if (code === undefined) relay.send({ type: "free", slot, discard: false });
      });
      expect(await relay.tryAcquire(1)).toMatchObject({ code: "RESOURCE_UNKNOWN" });
      await host.commands(`texture 1 64 64 ${BGRA}`, "paint 1 4");
      const again = await relay.acquire(1);
      expect(again.generation).toBeGreaterThan(generation);
      for (let slot = 0; slot < 3; slot++) {
        expect((await relay.read(1, again.generation, slot)).equals(painted(64, 64, BGRA, 4))).toBe(true);
      }
    });

    it("of an older generation is refused", async () => {
      await host.command(`texture 1 64 64 ${BGRA}`);
      const relay = await connect();
      const { generation } = await relay.acquire(1);
      await host.commands("unref 1", `texture 1 64 64 ${BGRA}`);
      await relay.next("revoke");
      await expect(relay.read(1, generation)).rejects.toThrow("RESOURCE_UNKNOWN");
    });
  });

  describe("slots", () => {
    it("are read-only, are kept, and change their size", async () => {
      await host.commands(`texture 1 64 64 ${BGRA}`, `texture 2 128 64 ${BGRA}`, "paint 1 1", "paint 2 2");
      const relay = await connect();
      const [small, large] = [await relay.acquire(1), await relay.acquire(2)];
      await relay.read(1, small.generation);
      const descriptor = relay.slotDescriptor(0);
      expect(() => writeSync(descriptor, "x")).toThrow("EBADF");
      await host.command("paint 1 3");
      expect((await relay.read(1, small.generation)).equals(painted(64, 64, BGRA, 3))).toBe(true);
      expect(relay.slotDescriptor(0)).toBe(descriptor);
      expect((await relay.read(2, large.generation)).equals(painted(128, 64, BGRA, 2))).toBe(true);
      expect((await relay.read(1, small.generation)).equals(painted(64, 64, BGRA, 3))).toBe(true);
    });

    it("that are discarded give their memory back", async () => {
      await host.commands(`texture 1 64 64 ${BGRA}`, "paint 1 1");
      const relay = await connect();
      const { generation } = await relay.acquire(1);
      await relay.read(1, generation, 5);
      const open = await host.descriptors();
      expect(relay.slot(5).some((byte) => byte !== 0)).toBe(true);
      relay.send({ type: "free", slot: 5, discard: true });
      await expectDescriptors(open - 1);
      expect(statSync(`/proc/self/fd/${relay.slotDescriptor(5)}`).blocks).toBe(0);
      await relay.read(1, generation, 5);
    });

    it("may be freed while they are read", async () => {
      await host.commands(`texture 1 256 256 ${BGRA}`, "busy 1 10", "paint 1 1");
      const relay = await connect();
      const { generation } = await relay.acquire(1);
      const open = await host.descriptors();
      relay.startRead(1, generation, 0);
      relay.send({ type: "free", slot: 0, discard: true });
      expect(await relay.next("readDone")).toMatchObject(NO_CODE);
      await expectDescriptors(open);
      expect((await relay.read(1, generation, 0)).equals(painted(256, 256, BGRA, 1))).toBe(true);
    });

    it("have a bound for all together, beyond which a Read is refused", async () => {
      await host.command(`texture 1 8192 4096 ${BGRA}`);
      const relay = await connect();
      const { generation } = await relay.acquire(1);
      const fitting = Math.floor(LIMITS.MAX_SLOT_BYTES / (8192 * 4096 * 4));
      for (let slot = 0; slot <= fitting; slot++) {
        relay.startRead(1, generation, slot);
        const { code } = await relay.next("readDone");
        expect(code).toBe(slot < fitting ? undefined : "TOO_MANY_SLOTS");
      }
      relay.send({ type: "free", slot: 0, discard: true });
      relay.startRead(1, generation, fitting);
      expect(await relay.next("readDone")).toMatchObject(NO_CODE);
    });

    it.each([
      ["taken", 0],
      ["out of range", LIMITS.MAX_SLOTS],
    ])("that are %s end the connection", async (_, slot) => {
      await host.command(`texture 1 64 64 ${BGRA}`);
      const relay = await connect();
      const { generation } = await relay.acquire(1);
      relay.startRead(1, generation, 0);
      relay.startRead(1, generation, slot);
      await relay.ended();
      expect(host.log).toContain("it reads into a slot that does not exist or is not free");
    });
  });

  describe("hostile clients", () => {
    const hello = encodeExportMessage({ type: "hello", version: LIMITS.EXPORT_VERSION, software: "" });

    it.each([
      ["a length of 0", Buffer.alloc(4)],
      ["a length that is too large", Buffer.from([1, 2, 0, 0])],
      ["the largest length", Buffer.alloc(4, 255)],
      ["no protobuf", Buffer.from([3, 0, 0, 0, 255, 255, 255])],
      ["an exporter's message", encodeExportMessage({ type: "reset" })],
      ["another exporter's message", encodeExportMessage({ type: "revoke", resource: 1, generation: 1 })],
      ["a second Hello", hello],
      ["Free of no slot", encodeExportMessage({ type: "free", slot: LIMITS.MAX_SLOTS, discard: true })],
    ])("are closed for %s", async (_, bytes) => {
      const open = await host.descriptors();
      const raw = connectRaw();
      raw.resume();
      raw.write(Buffer.concat([hello, bytes]));
      await once(raw, "close");
      await expectDescriptors(open);
    });

    it("may cut their messages anywhere, and send what a later version adds", async () => {
      const raw = connectRaw();
      const later = Buffer.from([3, 0, 0, 0, 0xfa, 1, 0]); // field 31
      const acquire = { request: 9, resource: 1, content: "PAGES", bytes: 0 } as const;
      const all = Buffer.concat([hello, later, encodeExportMessage({ type: "acquire", ...acquire })]);
      raw.setNoDelay(true);
      let received = 0;
      raw.on("data", (bytes) => (received += bytes.length));
      await until(() => received > 0, "Hello");
      const greeting = received;
      for (const byte of all) raw.write(Buffer.from([byte]));
      await until(() => received > greeting, "an answer");
    });

    it("may come and go in any state", async () => {
      await host.commands(`texture 1 256 256 ${BGRA}`, "dumb 2 64 64 1", "busy 1 5");
      const open = await host.descriptors();
      const { generation } = await (await connect()).acquire(1);
      for (let round = 0; round < 120; round++) {
        const relay = new TestRelay(socket);
        relays.push(relay);
        // Some are too many at one time.
        if (round % 2 === 0) await relay.next("hello").catch(() => relay.close());
        if (round % 3 === 0) relay.startRead(1, generation, round % LIMITS.MAX_SLOTS);
        if (round % 4 === 0) await relay.acquire(2).catch(() => relay.close());
        if (round % 12 === 0) await relay.next("readDone").catch(() => relay.close());
        relay.close();
      }
      for (const relay of relays) if (relay instanceof TestRelay) relay.close();
      await expectDescriptors(open + 1); // that of the VM's memory
      const relay = await connect();
      expect((await relay.readRendered(1)).length).toBe(256 * 256 * 4);
    });

    it("that do not read are disconnected, and disturb no others", async () => {
      await host.command("dumb 1 4000 800 1");
      const good = await connect();
      const raw = connectRaw();
      raw.pause();
      const acquire = { request: 1, resource: 1, content: "PAGES", bytes: 0 } as const;
      const requests = Array.from({ length: 400 }, () =>
        encodeExportMessage({ type: "acquire", ...acquire }),
      );
      raw.write(Buffer.concat([hello, ...requests]));
      await until(() => host.log.includes("it does not read what is sent to it"), "the exporter notices");
      expect((await good.acquire(1)).extents.length).toBe((4000 * 800 * 4) / PAGE);
    });

    it("that say nothing make room for others", async () => {
      const silent = Array.from({ length: 4 }, () => connectRaw());
      await Promise.all(silent.map((raw) => once(raw, "data")));
      const relay = await until(async () => {
        const one = new TestRelay(socket);
        relays.push(one);
        return await one.next("hello").then(
          () => one,
          () => undefined,
        );
      }, "a place");
      await relay.tryAcquire(1);
      expect(host.log).toContain("it has not said Hello, and its place is needed");
    });

    it("hold a bounded number of resources", async () => {
      const ids = Array.from({ length: LIMITS.MAX_ACQUIRED_RESOURCES + 1 }, (_, index) => index + 1);
      await host.commands(...ids.map((id) => `dumb ${id} 16 16 1`));
      const relay = await connect();
      const acquire = { request: 1, content: "PAGES", bytes: 0 } as const;
      for (const resource of ids) relay.send({ type: "acquire", resource, ...acquire });
      const answers = [];
      for (const _ of ids) answers.push(await relay.next("acquired", "refused"));
      const last = answers.pop();
      expect(answers.every(({ type }) => type === "acquired")).toBe(true);
      expect(last).toMatchObject({ type: "refused", code: "TOO_MANY_ACQUIRED" });
      const [first] = answers;
      const { generation } = first?.type === "acquired" ? first : { generation: 0 };
      relay.send({ type: "release", resource: 1, generation });
      await relay.acquire(ids.length);
    });
  });

  it("loses nothing over hundreds of resources", async () => {
    const relay = await connect();
    await host.commands(`texture 1 64 64 ${BGRA}`, "dumb 2 64 64 1");
    await relay.readRendered(1);
    await relay.acquire(2);
    await host.commands("unref 1", "unref 2");
    await relay.next("revoke");
    await relay.next("revoke");
    const open = await host.descriptors();
    for (let id = 10; id < 310; id++) {
      const texture = id % 2 === 0;
      await host.command(texture ? `texture ${id} 64 64 ${BGRA}` : `dumb ${id} 64 64 1`);
      if (texture) await relay.readRendered(id);
      else await relay.acquire(id);
      await host.command(`unref ${id}`);
      expect(await relay.next("revoke")).toMatchObject({ resource: id });
    }
    await expectDescriptors(open);
  });
});

describe("the exporter inside QEMU with a display", () => {
  const folder = temporaryFolder();

  it.each([
    { args: ["-display", "dbus,gl=on"], warned: true },
    { args: ["-spice", "port=1,gl=on", "-display", "egl-headless"], warned: true },
    { args: ["-display", "sdl,gl=on", "-spice", "port=1"], warned: false },
  ])("warns where it holds back commands: $args", async ({ args, warned }) => {
    const socket = join(folder, "export");
    const host = await VirglHost.start(programs, { loading: "sanitized", api: "gl", socket, args });
    expect(host.log.includes("holds back the guest's commands")).toBe(warned);
    expect(await host.end(), host.log).toBe(0);
  });
});

describe("the socket of the exporter inside QEMU", () => {
  const folder = temporaryFolder();
  const hosts: VirglHost[] = [];
  const start = async (socket: string | undefined, users?: string): Promise<VirglHost> => {
    const host = await VirglHost.start(programs, {
      loading: "preload",
      api: "gl",
      socket,
      ...(users === undefined ? {} : { users }),
    });
    hosts.push(host);
    return host;
  };
  afterEach(async () => {
    for (const host of hosts.splice(0)) expect(await host.end(), host.log).toBe(0);
  });

  it("is not there unless its path is set, and nothing else is either", async () => {
    const host = await start(undefined);
    const open = await host.descriptors();
    await host.commands("dumb 1 64 64 1", `texture 2 64 64 ${BGRA}`, "unref 1", "unref 2", "reset");
    expect(await host.descriptors()).toBe(open);
    expect(host.log).not.toContain("vsockenc");
  });

  it("is for its own user, or for checked ones", async () => {
    await start(join(folder, "own"));
    expect(statSync(join(folder, "own")).mode & 0o777).toBe(0o600);
    await start(join(folder, "users"), "12345,0");
    expect(statSync(join(folder, "users")).mode & 0o777).toBe(0o666);
    const invalid = await start(join(folder, "invalid"), "root");
    expect(existsSync(join(folder, "invalid"))).toBe(false);
    expect(invalid.log).toContain("invalid VSOCKENC_EXPORT_USERS=root");
  });

  it("replaces one that a process has left, but no other's", async () => {
    const path = join(folder, "left");
    const killed = await VirglHost.start(programs, { loading: "preload", api: "gl", socket: path });
    await killed.kill();
    expect(existsSync(path)).toBe(true);
    const host = await start(path);
    const relay = new TestRelay(path);
    await relay.next("hello");
    relay.close();
    const second = await start(path);
    expect(second.log).toContain(`cannot listen at VSOCKENC_EXPORT=${path}`);
    expect(host.log).not.toContain("vsockenc-virgl");
  });
});

it("the exporter inside QEMU survives the failure of any allocation", async () => {
  const socket = join(temporaryFolder(), "export");
  const host = await VirglHost.start(programs, { loading: "sanitized", api: "gl", socket });
  /** All that a relay and a guest can make the exporter do, as far as it goes. */
  const useAll = async (): Promise<{ done: string[]; allocations: number }> => {
    const done: string[] = [];
    const relay = new TestRelay(socket);
    try {
      await relay.next("hello");
      await host.commands(`texture 1 64 64 ${BGRA}`, "dumb 2 64 64 1", "paint 1 5", "write 2 6");
      const pages = await relay.acquire(2);
      expect(relay.pages(pages)).toEqual(written(64 * 64 * 4, 6));
      done.push("pages");
      expect((await relay.readRendered(1)).equals(painted(64, 64, BGRA, 5))).toBe(true);
      done.push("rendered");
    } catch (error) {
      // A refusal, or the end of the connection; never wrong pixels.
      if (!/RESOURCE_|TOO_MANY_SLOTS|"closed"/.test(String(error))) throw error;
    }
    relay.close();
    const allocations = await host.command("failures");
    await host.commands("fail 0", "unref 1", "unref 2");
    return { done, allocations };
  };
  const all = ["pages", "rendered"];
  expect(await useAll()).toMatchObject({ done: all });
  const open = await host.descriptors();
  let failures = 0;
  for (let number = 1; ; number++) {
    await host.command(`fail ${number}`);
    const { done, allocations } = await useAll();
    if (allocations < number) break;
    if (done.length < all.length) failures++;
    expect(await useAll(), `after failure ${number}`).toMatchObject({ done: all });
    await until(async () => (await host.descriptors()) === open, `${open} descriptors are open`);
  }
  expect(failures).toBeGreaterThan(15);
  expect(await host.end(), host.log).toBe(0);
});
