/** Guests that break the rules, on purpose or by dying: what the relay makes of each, and that others notice nothing. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { mappedRuns } from "../../../host/native/picture.ts";
import { encodeDataHead, encodeMessage } from "../../../proto/framing.ts";
import { HEADER_OFFSET, LIMITS } from "../../../proto/limits.ts";
import type { OutgoingMessage } from "../../../proto/messages.ts";
import { vsockenc } from "../../../proto/protobuf.ts";
import { falseHeaders, MAX_HASHED_PER_BYTE } from "../../support/false-headers.ts";
import { hashed } from "../../support/hashed-bytes.ts";
import { relayBench } from "../../support/relay-bench.ts";
import { type ConnectedGuest, HEIGHT, PICTURE_BYTES, WIDTH, XR24 } from "../../support/relay-guest.ts";
import { sealHeader } from "../../support/sealed.ts";
import { until } from "../../support/until.ts";

vi.mock("node:zlib", async (original) => {
  const { countingZlib } = await import("../../support/hashed-bytes.ts");
  return countingZlib(await original());
});

const { ErrorCode } = vsockenc;
const bench = relayBench();
afterEach(() => void vi.useRealTimers());
beforeEach(() => bench.listen(true));

/** Another guest with a stream, and proof that frames go through it. */
async function neighbour(): Promise<() => Promise<void>> {
  bench.resource(2);
  const guest = await bench.opened();
  guest.configure(1);
  guest.attach(0, 2);
  let frame = 0;
  const prove = async (): Promise<void> => {
    frame += 1;
    guest.frame(frame, 0);
    await guest.next("packet", frame);
    expect(guest.all("error")).toEqual([]);
  };
  await prove();
  return prove;
}

async function refusal(guest: ConnectedGuest, count = 1): Promise<vsockenc.Error> {
  return (await guest.next("error", count)).body;
}

describe("resources", () => {
  it("that were freed are refused", async () => {
    const guest = await bench.opened();
    bench.resource(1);
    await bench.exporter.free(1);
    guest.attach(0, 1);
    expect((await refusal(guest)).code).toBe(ErrorCode.NO_SUCH_RESOURCE);
  });

  it("whose id came back with another size are never read by the old layout", async () => {
    const guest = await bench.streaming();
    await guest.next("attached", 1);
    await bench.exporter.free(1);
    bench.exporter.create(1, { width: 16, height: 16 });
    guest.frame(1, 0);
    expect((await refusal(guest)).code).toBe(ErrorCode.NO_SUCH_RESOURCE);
    guest.send({ type: "detach", body: { buffer: 0 } });
    guest.attach(0, 1);
    const { code, text } = await refusal(guest, 2);
    expect(code).toBe(ErrorCode.LAYOUT_OUTSIDE_RESOURCE);
    expect(text).toMatch(/\d/);
    await until(() => bench.exporter.held === 0 && mappedRuns() === 0, "the release of everything");
  });

  const plane = { resource: 1, stride: WIDTH * 4 };
  it.each([
    ["width", { width: LIMITS.MAX_DIMENSION + 1 }],
    ["width * height", { width: LIMITS.MAX_DIMENSION, height: LIMITS.MAX_DIMENSION }],
    ["height", { height: LIMITS.MIN_DIMENSION - 1 }],
    ["height", { height: 0xffffffff }],
    ["planes", { planes: [] }],
    ["stride", { planes: [{ resource: 1, stride: 0 }] }],
    ["stride", { planes: [{ resource: 1, stride: 0xffffffff }] }],
    ["", { planes: [{ ...plane, offset: 2 ** 52 }] }],
    ["", { planes: [{ ...plane, offset: PICTURE_BYTES - 1 }] }],
    ["modifier", { modifierLow: 1 }],
    ["", { fourcc: 0 }],
    ["", { planes: [plane, plane] }],
    ["visible", { visible: { x: WIDTH - 16, y: 0, width: 17, height: 16 } }],
    ["visible", { visible: { x: 0xffffffff, y: 0xffffffff, width: 16, height: 16 } }],
  ])("with a wrong %s are refused, and the session goes on (%j)", async (field, change) => {
    const guest = await bench.opened();
    bench.resource(1);
    const body = { buffer: 0, width: WIDTH, height: HEIGHT, fourcc: XR24, planes: [plane], ...change };
    guest.send({ type: "attach", body });
    const { fatal, text } = await refusal(guest);
    expect(fatal).toBe(false);
    expect(text).toContain(field);
    guest.attach(0, 1);
    await guest.next("attached", 1);
  });
});

describe("bytes", () => {
  it("that are garbage do no harm, in any length and with any magic", async () => {
    const other = await neighbour();
    const guest = await bench.opened();
    const header = encodeMessage({ type: "ping", body: { token: 1 } }, guest.nextEnvelope());
    guest.sequence -= 1;
    const { MAX_MESSAGE_BYTES: max } = LIMITS;
    for (const length of [0, 1, max, max + 1, 0xffff]) {
      const wrong = Buffer.from(header);
      wrong.writeUInt16LE(length, HEADER_OFFSET.length);
      guest.raw(wrong);
      guest.raw(sealHeader(wrong));
    }
    guest.raw(Buffer.alloc(LIMITS.MAX_MESSAGE_BYTES));
    guest.raw(Buffer.from("VENC".repeat(1000)));
    guest.raw(Buffer.alloc(LIMITS.MAX_MESSAGE_BYTES));
    guest.send({ type: "ping", body: { token: 9 } });
    expect((await guest.next("pong", 1)).body.token).toBe(9);
    await other();
  });

  it.each(
    Object.entries(falseHeaders(1 << 20)),
  )("of false headers %s are hashed a bounded number of times", async (_name, attack) => {
    const other = await neighbour();
    const guest = await bench.opened();
    hashed.bytes = 0;
    guest.raw(attack);
    guest.send({ type: "ping", body: { token: 9 } });
    expect((await guest.next("pong", 1)).body.token).toBe(9);
    expect(hashed.bytes).toBeLessThan(MAX_HASHED_PER_BYTE * attack.length);
    await other();
  });

  it("of a session may come cut anywhere, or all in one piece", async () => {
    bench.resource(1);
    const pieces: Buffer[] = [];
    const guest = await bench.opened();
    const raw = guest.raw.bind(guest);
    guest.raw = (bytes) => void pieces.push(Buffer.from(bytes));
    guest.configure(1);
    guest.attach(0, 1);
    for (let frame = 1; frame <= 8; frame++) guest.frame(frame, 0);
    const all = Buffer.concat(pieces.splice(0));
    raw(all);
    await guest.next("packet", 8);
    for (let frame = 9; frame <= 11; frame++) guest.frame(frame, 0);
    for (const byte of Buffer.concat(pieces)) {
      raw(Buffer.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await guest.next("packet", 11);
    expect(guest.all("error")).toEqual([]);
  });
});

describe("floods", () => {
  it("of frames end the session that makes them, and no other", async () => {
    const other = await neighbour();
    const guest = await bench.streaming();
    // In one turn: a relay that gives way to its encoder may keep up with the flood.
    vi.useFakeTimers({ toFake: ["performance"] });
    for (let frame = 1; frame <= 5000; frame++) guest.frame(frame, 0);
    await until(() => guest.all("error").some(({ body }) => body.fatal), "the end");
    expect(guest.all("error").at(-1)?.body.code).toBe(ErrorCode.LIMIT_EXCEEDED);
    await other();
    await until(() => bench.exporter.held === 1, "the release");
  });

  it("of key frames get key frames, and memory stays flat", async () => {
    const guest = await bench.streaming();
    for (let frame = 1; frame <= 300; frame++) {
      guest.frame(frame, 0, { forceKey: true });
      if (frame % 4 === 0) {
        await guest.next("packet", frame);
        const granted = LIMITS.HOST_WINDOW_BYTES + frame * 4096;
        guest.send({ type: "credit", body: { grantedBytes: granted } });
      }
    }
    expect(guest.all("packet").every(({ body }) => body.key)).toBe(true);
    expect(mappedRuns()).toBeLessThan(10);
  });

  it("of pings by a guest that never reads end its session, and cost a bounded queue", async () => {
    const other = await neighbour();
    const guest = await bench.opened();
    guest.socket.pause();
    const before = process.memoryUsage.rss();
    const ping = (): Buffer => encodeMessage({ type: "ping", body: { token: 1 } }, guest.nextEnvelope());
    for (let round = 0; round < 60; round++) {
      guest.raw(Buffer.concat(Array.from({ length: 1000 }, ping)));
      await other();
    }
    // Else a slow relay would still have most of them before it.
    await until(() => guest.socket.writableLength === 0, "the pings' way to the relay");
    await other();
    expect(process.memoryUsage.rss() - before).toBeLessThan(100 << 20);
    guest.socket.resume();
    // Greetings, instead of a session: the relay has forgotten it.
    await until(() => guest.closed || guest.all("greeting").length > 1, "the end of the session");
  });
});

describe("a guest that dies", () => {
  const planes = [{ resource: 1, stride: 1280 }];
  const attach = { buffer: 0, width: WIDTH, height: HEIGHT, fourcc: XR24, planes };
  const messages: OutgoingMessage[] = [
    { type: "ping", body: { token: 1 } },
    { type: "pong", body: { token: 1 } },
    { type: "credit", body: { grantedBytes: 1 << 20 } },
    { type: "error", body: { code: 1, text: "x".repeat(200), fatal: true } },
    { type: "bye", body: { text: "x".repeat(200) } },
    { type: "configure", body: { serial: 1, codec: 1, width: 320, height: 240 } },
    { type: "attach", body: attach },
    { type: "detach", body: { buffer: 0 } },
    { type: "probe", body: { buffer: 0 } },
    { type: "frame", body: { frame: 1, buffer: 0, configuration: 1, ptsNs: 1, inlineBytes: 1000 } },
    { type: "drain", body: { token: 1 } },
    { type: "flush", body: { token: 1 } },
  ];

  /** Half of a message, as its writer's death leaves it in the port; then another process opens the same port. */
  async function die(guest: ConnectedGuest, bytes: Buffer): Promise<void> {
    guest.raw(bytes.subarray(0, Math.ceil(bytes.length / 2)));
    await guest.open();
    guest.configure(1);
    guest.attach(0, 1);
    const done = guest.all("packet").length;
    guest.frame(1, 0);
    await guest.next("packet", done + 1);
  }

  it.each(
    messages.map((message) => [message.type, message] as const),
  )("in the middle of %s leaves the port to the next", async (_type, message) => {
    bench.resource(1);
    const guest = await bench.opened();
    await die(guest, encodeMessage(message, guest.nextEnvelope()));
  });

  it("in the middle of data, and of an inline frame, leaves the port to the next", async () => {
    bench.resource(1);
    const guest = await bench.opened();
    guest.configure(1);
    guest.attach(0, 0);
    guest.frame(1, 0, { inlineBytes: PICTURE_BYTES });
    const pixels = Buffer.alloc(30000, 1);
    await die(guest, Buffer.concat([encodeDataHead(1, 0, pixels, guest.nextEnvelope()), pixels]));
  });

  it("while a frame is being encoded leaves nothing behind", async () => {
    const guest = await bench.streaming();
    for (let frame = 1; frame <= 8; frame++) guest.frame(frame, 0);
    guest.socket.destroy();
    await until(() => bench.exporter.held === 0 && mappedRuns() === 0, "the release of everything");
  });
});
