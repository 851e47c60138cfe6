/** Helix's element on a listener of ours: what it sends is encoded, with nothing changed in it. */
import { writeFileSync } from "node:fs";
import { pino } from "pino";
import { afterEach, describe, expect, it, vi } from "vitest";
import { stagingBytes } from "../../../host/native/picture.ts";
import { IDLE_MS } from "../../../host/relay/session-peer.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { decodeGray } from "../../support/ffmpeg.ts";
import { freePort } from "../../support/free-port.ts";
import {
  BGRA,
  HelixElement,
  type HelixFrame,
  helixConfig,
  helixDisableScanout,
  helixEnableScanout,
  helixFrame,
  helixMessage,
  helixPing,
  helixSubscribe,
  NV12,
  RGBA,
} from "../../support/helix-element.ts";
import { relayBench } from "../../support/relay-bench.ts";
import { HEIGHT, PICTURE_BYTES, WIDTH } from "../../support/relay-guest.ts";
import { until } from "../../support/until.ts";

const bench = relayBench();
const elements: HelixElement[] = [];
let log: Record<string, unknown>[];
afterEach(() => {
  vi.useRealTimers();
  for (const { socket } of elements.splice(0)) socket.destroy();
});

const MS = 1_000_000n;
const INVALID = -1;
const NOT_FOUND = -2;

/** Starts a relay that speaks HXFR, for a VM with an exporter or for none, and connects an element. */
async function start({ encoder = "null", bound = true, more = "", port = 0 } = {}): Promise<HelixElement> {
  if (bound) expect(bench.exporter.held).toBe(0);
  log = [];
  const lines = pino({ level: "info" }, { write: (line) => log.push(JSON.parse(line)) });
  const vm = `[[vm]]\nname = "a"\nexport = "${bench.path("e")}"\n`;
  const address = port === 0 ? `unix:${bench.path("l")}` : `tcp:127.0.0.1:${port}`;
  const listen = `[[listen]]\naddress = "${address}"\nprotocol = "hxfr"\n${more}\n`;
  await bench.start(bound ? `${vm}${listen}vm = "a"` : listen, { encoder, log: lines });
  if (bound) await until(() => logged("connected to the exporter"), "the exporter's connection");
  return element(port === 0 ? bench.path("l") : port);
}

function element(where: string | number = bench.path("l")): HelixElement {
  const one = new HelixElement(where);
  elements.push(one);
  return one;
}

const logged = (text: string) => log.find(({ msg }) => String(msg).includes(text));

/** Mean brightness of each decoded picture. */
function brightness(one: HelixElement, width = WIDTH, height = HEIGHT): number[] {
  const file = bench.path("out.h264");
  writeFileSync(file, one.stream());
  return decodeGray(file, width, height).map((frame) => frame.reduce((a, b) => a + b, 0) / frame.length);
}

function expectBrightness(one: HelixElement, expected: readonly number[]): void {
  const found = brightness(one);
  expect(found).toHaveLength(expected.length);
  for (const [index, level] of expected.entries()) {
    expect(Math.abs((found[index] ?? 0) - level), `picture ${index}`).toBeLessThan(3);
  }
}

const pixels = (level: number, bytes = PICTURE_BYTES): Buffer => Buffer.alloc(bytes, level);

describe("frames by resource id", () => {
  it("are the resources' pictures, attached once", async () => {
    const one = await start({ encoder: "libx264" });
    const levels = [40, 120, 200];
    for (const [index, level] of levels.entries()) bench.resource(index + 1, level);
    for (let n = 0; n < 9; n++) {
      const pts = BigInt(n) * 33n * MS;
      const packet = await one.encode({ resource: (n % 3) + 1, pts, session: 7, forceKey: n === 5 });
      expect(packet).toMatchObject({ pts, dts: pts, session: 7, key: n === 0 || n === 5 });
      expect(packet.units).toHaveLength(1);
    }
    expectBrightness(one, [...levels, ...levels, ...levels]);
    expect(bench.exporter.held).toBe(3);
  });

  it("may come without waiting for replies, which keep their order", async () => {
    const one = await start({ encoder: "libx264" });
    bench.resource(1, 90);
    const messages = Array.from({ length: 30 }, (_, n) =>
      n % 10 === 9 ? [helixPing(n)] : [helixFrame({ resource: n % 7 === 3 ? 99 : 1, session: n })],
    );
    one.send(Buffer.concat(messages.flat()));
    await one.reply(30);
    expect(one.replies.map(({ session }) => session)).toEqual(messages.map((_, n) => n));
    const types = messages.map((_, n) => (n % 10 === 9 ? "pong" : n % 7 === 3 ? "error" : "packet"));
    expect(one.replies.map(({ type }) => type)).toEqual(types);
  });

  it("follow a change of size, with a key frame", async () => {
    const one = await start({ encoder: "libx264" });
    bench.resource(1, 60);
    bench.exporter.create(2, { width: 160, height: 128 });
    expect((await one.encode({ resource: 1 })).key).toBe(true);
    const at = one.replies.length;
    expect((await one.encode({ resource: 2, width: 160, height: 128 })).key).toBe(true);
    expect((await one.encode({ resource: 2, width: 160, height: 128 })).key).toBe(false);
    one.replies.splice(0, at);
    expect(brightness(one, 160, 128)).toHaveLength(2);
  });

  it("have any times, which the replies return", async () => {
    const one = await start({ encoder: "libx264" });
    bench.resource(1, 60);
    const times = [5n, 5n, -1n, 3n, 2n ** 62n, -(2n ** 62n), 2n ** 63n - 1n, 0n, 33n * MS];
    for (const pts of times) expect((await one.encode({ resource: 1, pts })).pts).toBe(pts);
    expect(brightness(one)).toHaveLength(times.length);
  });

  it("show what is in a resource whose id was freed and used again", async () => {
    const one = await start({ encoder: "libx264" });
    bench.resource(1, 50);
    await one.encode({ resource: 1 });
    await bench.exporter.free(1);
    bench.resource(1, 150);
    await one.encode({ resource: 1 });
    await bench.exporter.free(1);
    expect(await one.refused(helixFrame({ resource: 1 }))).toMatchObject({ code: NOT_FOUND });
    bench.resource(1, 220);
    await one.encode({ resource: 1, forceKey: true });
    expectBrightness(one, [50, 150, 220]);
    expect(bench.exporter.held).toBe(1);
  });

  it("never read a resource that came back smaller", async () => {
    const one = await start();
    bench.resource(1, 50);
    await one.encode({ resource: 1 });
    await bench.exporter.free(1);
    bench.exporter.create(1, { width: 64, height: 64 });
    const { code, text } = await one.refused(helixFrame({ resource: 1 }));
    expect(code).toBe(INVALID);
    expect(text).toContain("bytes");
    await one.encode({ resource: 1, width: 64, height: 64 });
  });

  it("keep the resources attached that were used last", async () => {
    const one = await start();
    const count = LIMITS.MAX_ATTACHED_BUFFERS + 6;
    const small = { width: 16, height: 16 };
    for (let id = 1; id <= count; id++) bench.exporter.create(id, small);
    for (let id = 1; id <= count; id++) await one.encode({ resource: id, ...small });
    expect(bench.exporter.held).toBe(LIMITS.MAX_ATTACHED_BUFFERS - 1);
    for (const resource of [count, 1, 2, 3, count]) await one.encode({ resource, ...small });
    await until(() => bench.exporter.held === LIMITS.MAX_ATTACHED_BUFFERS - 1, "the release of the oldest");
  });

  it("end with an error while the exporter is away, and go on when it is back", async () => {
    const one = await start();
    bench.resource(1, 50);
    await one.encode({ resource: 1 });
    bench.closeExporter();
    expect(await one.refused(helixFrame({ resource: 1 }))).toMatchObject({ code: NOT_FOUND });
    bench.resource(1, 50);
    await until(
      () =>
        one.encode({ resource: 1 }).then(
          () => true,
          () => false,
        ),
      "a frame of the exporter that is back",
    );
  });

  it("are refused on a listener without a VM", async () => {
    const one = await start({ bound: false });
    expect((await one.refused(helixFrame({ resource: 1 }))).text).toContain("belongs to no VM");
    await one.encode({ pixels: pixels(1) });
  });
});

describe("frames with pixels", () => {
  /** A picture of one colour, with padded rows. */
  function packed(bytes: readonly number[], stride: number): Buffer {
    const row = Buffer.alloc(stride, 0xee);
    for (let x = 0; x < WIDTH; x++) row.set(bytes, x * 4);
    return Buffer.concat(Array.from({ length: HEIGHT }, () => row));
  }
  const wide = WIDTH * 4 + 64;
  /** Luma of BT.601, as 0 … 255. */
  const RED = 76;
  const BLUE = 29;

  it.each([
    ["BGRA, blue", { format: BGRA, pixels: packed([255, 0, 0, 255], WIDTH * 4) }, BLUE],
    ["BGRA, red, padded", { format: BGRA, stride: wide, pixels: packed([0, 0, 255, 0], wide) }, RED],
    ["RGBA, red", { format: RGBA, pixels: packed([255, 0, 0, 255], WIDTH * 4) }, RED],
    [
      "RGBA without the last padding",
      { format: RGBA, stride: wide, pixels: packed([0, 0, 255, 0], wide).subarray(0, -64) },
      BLUE,
    ],
    [
      "NV12 in memory of whole pages",
      {
        format: NV12,
        stride: WIDTH,
        pixels: Buffer.concat([
          pixels(16 + (219 * 100) / 255, WIDTH * HEIGHT),
          pixels(128, (WIDTH * HEIGHT) / 2),
          pixels(0xee, 1024),
        ]),
      },
      100,
    ],
  ] as const)("of %s are encoded", async (_what, frame, expected) => {
    const one = await start({ encoder: "libx264", bound: false });
    for (let n = 0; n < 3; n++) await one.encode(frame);
    expectBrightness(one, [expected, expected, expected]);
  });

  it.each(["unix", "tcp"])("are as large as they like, and their packets too, over %s", async (kind) => {
    const one = await start({ encoder: "libx264", port: kind === "tcp" ? await freePort() : 0 });
    const size = { width: 1920, height: 1080 };
    // Noise, which no encoder makes small.
    const row = Buffer.from(Array.from({ length: 1920 * 4 }, (_, n) => ((n * 2654435761) >>> 13) & 0xff));
    const noise = Buffer.concat(
      Array.from({ length: 1080 }, (_, y) => Buffer.concat([row.subarray(y * 4), row.subarray(0, y * 4)])),
    );
    one.send(helixConfig(1920, 1080, 60_000_000));
    for (let n = 0; n < 4; n++) one.frame({ ...size, pixels: noise, forceKey: true });
    await one.reply(4);
    expect(one.replies.map(({ type }) => type)).toEqual(Array(4).fill("packet"));
    expect(one.stream().length).toBeGreaterThan(2 * LIMITS.HOST_WINDOW_BYTES);
    expect(brightness(one, 1920, 1080)).toHaveLength(4);
  });

  it("may mix with resources, formats and sizes", async () => {
    const one = await start({ encoder: "libx264" });
    bench.resource(1, 90);
    const nv12 = { format: NV12, stride: WIDTH, pixels: pixels(128, (WIDTH * HEIGHT * 3) / 2) };
    one.frame({ pixels: pixels(30) });
    one.frame({ resource: 1 });
    one.frame(nv12);
    one.frame({ width: 64, height: 48, pixels: pixels(30, 64 * 48 * 4) });
    one.frame({ resource: 1 });
    one.frame({ pixels: pixels(200) });
    await one.reply(6);
    expect(one.replies.map(({ type }) => type)).toEqual(Array(6).fill("packet"));
    expect(one.replies.map((reply) => reply.type === "packet" && reply.key)).toEqual([
      true,
      false,
      true,
      true,
      true,
      false,
    ]);
    expect(logged("sends pixels instead of resource ids")).toBeDefined();
  });

  it.each([
    ["too few", { pixels: pixels(1, PICTURE_BYTES - 1) }],
    ["none", { pixels: pixels(1, 0) }],
    ["far too many, as of another stride", { pixels: pixels(1, PICTURE_BYTES + 64 * HEIGHT) }],
    ["those of another format", { format: NV12, stride: WIDTH, pixels: pixels(1) }],
    ["rows that overlap", { stride: WIDTH, pixels: pixels(1, WIDTH * HEIGHT) }],
  ] as const)("of which there are %s end with an error, and the next is encoded", async (_what, frame) => {
    const one = await start();
    expect(await one.refused(helixFrame(frame))).toMatchObject({ code: INVALID });
    await one.encode({ pixels: pixels(1) });
  });

  it("stage no more than one picture", async () => {
    const one = await start();
    for (const side of [1024, 512, 256]) {
      const bytes = side * side * 4;
      const before = stagingBytes();
      one.frame({ width: side, height: side, pixels: pixels(1, bytes) });
      await one.reply();
      expect(stagingBytes() - before).toBeLessThanOrEqual(bytes);
    }
  });
});

describe("requests besides frames", () => {
  it("PING is answered by PONG", async () => {
    const one = await start();
    one.send(helixPing(513));
    expect(await one.reply()).toEqual({ type: "pong", session: 513 });
  });

  it("CONFIG_REQ sets the rates of the following frames, and has no reply", async () => {
    const one = await start({ encoder: "libx264" });
    bench.resource(1, 50);
    one.send(helixConfig(WIDTH, HEIGHT, 1_234_000, [25, 1], 77), helixPing());
    await one.reply();
    await one.encode({ resource: 1 });
    expect(one.replies.map(({ type }) => type)).toEqual(["pong", "packet"]);
    expect(logged("encoder opened")).toMatchObject({ bitrateKbps: 1234, width: WIDTH, height: HEIGHT });
    // profile_idc of the first parameter set.
    const stream = one.stream();
    expect(stream[stream.indexOf(Buffer.from([0, 0, 1, 0x67])) + 4]).toBe(77);
  });

  it("a CONFIG_REQ that is impossible is refused, and the rates before stay", async () => {
    const one = await start({ encoder: "libx264" });
    bench.resource(1, 50);
    one.send(helixConfig(WIDTH, HEIGHT, 777_000));
    await one.encode({ resource: 1 });
    for (const bad of [
      helixConfig(8, 8, 1_000_000),
      helixConfig(WIDTH, HEIGHT, 0xffffffff),
      helixConfig(WIDTH, HEIGHT, 1_000_000, [30, 0]),
    ]) {
      const { code, text } = await one.refused(bad);
      expect(code, text).toBe(INVALID);
    }
    await one.encode({ resource: 1 });
    const opened = log.filter(({ msg }) => msg === "encoder opened");
    expect(opened.map(({ bitrateKbps }) => bitrateKbps)).toEqual(opened.map(() => 777));
  });

  it.each([
    ["ENABLE_SCANOUT", helixEnableScanout(3)],
    ["DISABLE_SCANOUT", helixDisableScanout(3)],
    ["SUBSCRIBE", helixSubscribe(3)],
  ])("%s is answered by a clear error, and the connection stays", async (_what, message) => {
    const one = await start();
    const { code, text } = await one.refused(message);
    expect(code).toBe(INVALID);
    expect(text).toMatch(/scanout 3 is not available: .* send frames/);
    await one.encode({ pixels: pixels(1) });
  });
});

describe("hostile frames", () => {
  it.each<[string, HelixFrame]>([
    ["a width of 0", { resource: 1, width: 0, stride: 64 }],
    ["a width of 2^32-1", { resource: 1, width: 0xffffffff, stride: 64 }],
    ["a height of 2^32-1", { resource: 1, height: 0xffffffff }],
    ["a stride of 0", { resource: 1, stride: 0 }],
    ["a stride of 2^32-1", { resource: 1, stride: 0xffffffff }],
    ["a stride below its rows", { resource: 1, stride: WIDTH * 4 - 1 }],
    ["a layout beyond its resource", { resource: 1, height: HEIGHT + 1 }],
    ["an unknown format", { resource: 1, format: 0x30323449 }],
    ["NV12 in a resource of half the size", { resource: 1, format: NV12, stride: WIDTH * 4 }],
    ["no resource and no pixels", { resource: 0 }],
    ["pixels of 2^46 bytes", { width: 16384, height: 16384, stride: 0xffffffff, pixels: pixels(1) }],
  ])("with %s are refused, and the next is encoded", async (_what, frame) => {
    const one = await start();
    bench.resource(1, 50);
    const before = stagingBytes();
    const { code, text } = await one.refused(helixFrame(frame));
    expect(code, text).toBe(INVALID);
    expect(text).not.toBe("");
    expect(stagingBytes()).toBe(before);
    await one.encode({ resource: 1 });
  });

  it("with an unknown resource are refused", async () => {
    const one = await start();
    for (const resource of [9, 0xffffffff]) {
      expect(await one.refused(helixFrame({ resource }))).toMatchObject({ code: NOT_FOUND });
    }
  });
});

describe("bytes that are no request", () => {
  const withSize = (message: Buffer, size: number): Buffer => {
    const copy = Buffer.from(message);
    copy.writeUInt32LE(size, 8);
    return copy;
  };
  const nothing = Buffer.alloc(0);

  it.each<[string, Buffer, string]>([
    ["another magic", Buffer.from("GET / HTTP/1.1\r\n\r\n"), "magic is 0x20544547"],
    ["our own protocol", Buffer.alloc(64), "magic is 0x0"],
    ["an unknown type", helixMessage(0x77, nothing), "message type is 0x77"],
    ["a reply", helixMessage(0x11, nothing), "message type is 0x11"],
    ["unknown flags", helixMessage(0x01, Buffer.alloc(44), { flags: 3 }), "flags of FRAME_REQUEST is 3"],
    ["flags where there are none", helixMessage(0x10, nothing, { flags: 1 }), "flags of PING is 1"],
    [
      "a frame that is too short",
      helixMessage(0x01, Buffer.alloc(43)),
      "payload_size of FRAME_REQUEST is 43",
    ],
    [
      "pixels without their flag",
      helixMessage(0x01, Buffer.alloc(45)),
      "payload_size of FRAME_REQUEST is 45",
    ],
    [
      "pixels of 4 GiB",
      withSize(helixFrame({ pixels: nothing }), 0xffffffff),
      "payload_size of FRAME_REQUEST is 4294967295",
    ],
    [
      "one byte more pixels than a session may stage",
      withSize(helixFrame({ pixels: nothing }), 44 + LIMITS.MAX_INLINE_BYTES + 1),
      "payload_size of FRAME_REQUEST is 134217773",
    ],
    ["a long PING", helixMessage(0x10, Buffer.alloc(1)), "payload_size of PING is 1"],
    ["a short CONFIG_REQ", helixMessage(0x04, Buffer.alloc(20)), "payload_size of CONFIG_REQ is 20"],
    ["a long SUBSCRIBE", helixMessage(0x30, Buffer.alloc(8)), "payload_size of SUBSCRIBE is 8"],
  ])("such as %s end the connection, with an error and a sentence in the log", async (_what, bytes, text) => {
    const one = await start();
    const other = element();
    bench.resource(1, 50);
    await one.encode({ resource: 1 });
    const error = await one.refused(bytes);
    expect(error).toMatchObject({ code: INVALID });
    expect(error.text).toContain(text);
    await until(() => one.closed, "the end of the connection");
    expect(logged("rejected a client that does not speak HXFR")?.["msg"]).toContain(text);
    await until(() => bench.exporter.held === 0, "the release of its resources");
    await other.encode({ resource: 1 });
  });
});

describe("clients", () => {
  it("do not disturb each other", async () => {
    const one = await start({ encoder: "libx264" });
    const two = element();
    bench.resource(1, 50);
    bench.resource(2, 180);
    for (let n = 0; n < 5; n++) {
      await Promise.all([one.encode({ resource: 1 }), two.encode({ resource: 2 })]);
    }
    two.send(helixFrame({ pixels: pixels(1) }).subarray(0, 1000));
    two.socket.end();
    await until(() => two.closed, "the end of the other");
    await one.encode({ resource: 1 });
    expectBrightness(one, [50, 50, 50, 50, 50, 50]);
    expectBrightness(two, [180, 180, 180, 180, 180]);
  });

  it("are limited in number", async () => {
    const one = await start({ more: "max_clients = 1" });
    await one.encode({ pixels: pixels(1) });
    const two = element();
    await until(() => two.closed, "the refusal");
    await one.encode({ pixels: pixels(1) });
  });

  it("that read late lose nothing", async () => {
    const one = await start();
    one.socket.pause();
    const count = 100_000;
    const pings = Buffer.concat(Array.from({ length: 1000 }, (_, n) => helixPing(n)));
    for (let n = 0; n < count / 1000; n++) one.send(pings);
    // Far more than the sockets and the relay's window hold; what the relay does with it is in hxfr-properties.test.ts.
    await until(() => one.socket.bytesRead === 0 && one.socket.writableLength > 0, "unread requests");
    one.socket.resume();
    await one.reply(count);
    expect(one.replies.every((reply, n) => reply.type === "pong" && reply.session === n % 1000)).toBe(true);
  });

  it("may be silent for ever once they have sent something, and not before", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance"] });
    const one = await start({ bound: false });
    await one.encode({ pixels: pixels(1) });
    const idle = element();
    await until(() => log.filter(({ msg }) => msg === "client connected").length === 2, "the second client");
    vi.advanceTimersByTime(2 * IDLE_MS);
    await until(() => idle.closed, "the end of the idle one");
    vi.advanceTimersByTime(3600_000);
    await one.encode({ pixels: pixels(1) });
  });
});
