import { writeFileSync } from "node:fs";
import { crc32 } from "node:zlib";
import { afterEach, describe, expect, it, vi } from "vitest";
import { PreferredBackend } from "../../../host/encoders/index.ts";
import { stagingBytes } from "../../../host/native/picture.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { vsockenc } from "../../../proto/protobuf.ts";
import { decodeGray } from "../../support/ffmpeg.ts";
import { relayBench } from "../../support/relay-bench.ts";
import { type ConnectedGuest, HEIGHT, PICTURE_BYTES, WIDTH, XR24 } from "../../support/relay-guest.ts";
import { until } from "../../support/until.ts";
import { ScriptedBackend } from "../encoders/support/scripted.ts";

const { ErrorCode, ErrorSubject, SourceTier } = vsockenc;
const grey = (level: number): Buffer => Buffer.alloc(PICTURE_BYTES, level);

const bench = relayBench();
afterEach(() => void vi.useRealTimers());
let guest: ConnectedGuest;

async function start(encoder = "null"): Promise<void> {
  await bench.listen(false, encoder);
  guest = await bench.opened(false);
  guest.configure(1);
}

/** Starts with buffer 0 in a resource. */
async function startBound(): Promise<void> {
  await bench.listen(true);
  guest = await bench.streaming();
}

/** Sends the pixels of a frame from an offset on. */
async function send(frame: number, pixels: Buffer, from: number, to = pixels.length): Promise<void> {
  for (let at = from; at < to; at += 20_000) {
    await guest.data(frame, at, pixels.subarray(at, Math.min(at + 20_000, to)));
  }
}

const fatal = () => until(() => guest.all("error").some(({ body }) => body.fatal), "a fatal error");

describe("inline pixels", () => {
  it("are encoded when they are all there, within the credit that comes back", async () => {
    await start("libx264");
    guest.attach(0, 0);
    expect((await guest.next("attached", 1)).body).toMatchObject({ tier: SourceTier.INLINE, runs: 0 });
    const levels = [40, 120, 200, 80];
    for (const [index, level] of levels.entries()) {
      await guest.inlineFrame(index + 1, 0, grey(level));
      await guest.next("packet", index + 1);
    }
    expect(guest.all("frameDone").map(({ body }) => body.frame)).toEqual([1, 2, 3, 4]);
    expect(guest.all("error")).toEqual([]);
    const file = bench.path("out.h264");
    writeFileSync(file, Buffer.concat(guest.all("data").map(({ bytes }) => bytes)));
    const means = decodeGray(file, WIDTH, HEIGHT).map(
      (frame) => frame.reduce((a, b) => a + b, 0) / frame.length,
    );
    for (const [index, level] of levels.entries()) {
      expect(Math.abs((means[index] ?? 0) - level)).toBeLessThan(3);
    }
  });

  it("that arrive while an encoder is replaced are encoded by the next one, and their memory is used again", async () => {
    const [card, software] = [new ScriptedBackend("card"), new ScriptedBackend("software")];
    await bench.listen(false, "null", new PreferredBackend([card, software]));
    guest = await bench.opened(false);
    guest.configure(1);
    await guest.next("configured");
    guest.attach(0, 0);
    guest.attach(1, 0);
    let open = (): void => undefined;
    software.gate = new Promise((resolve) => {
      open = resolve;
    });
    await guest.inlineFrame(1, 0, grey(1));
    await until(() => card.last.waiting.length === 1, "the first frame");
    card.last.fail();
    await guest.next("error");
    await guest.inlineFrame(2, 1, grey(2));
    guest.send({ type: "ping", body: {} });
    await guest.next("pong");
    open();
    for (let frame = 2; frame < 2 + 3 * LIMITS.MAX_IN_FLIGHT_FRAMES; frame++) {
      if (frame > 2) await guest.inlineFrame(frame, 1, grey(frame));
      await until(() => software.sessions.at(-1)?.waiting.length === 1, `frame ${frame}`);
      software.last.packets();
      await guest.next("packet", frame - 1);
    }
    expect(guest.all("dropped")).toEqual([]);
  });

  it("may be several frames ahead of the encoder, and may mix with resources", async () => {
    await startBound();
    for (const buffer of [1, 3, 5, 7]) guest.attach(buffer, 0);
    for (let frame = 1; frame <= 8; frame++) {
      if (frame % 2 === 0) guest.frame(frame, 0);
      else await guest.inlineFrame(frame, frame, grey(frame));
    }
    await guest.next("packet", 8);
    expect(guest.all("packet").map(({ body }) => body.frame)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  it("must not be followed by more for the same buffer before they have been read", async () => {
    await start("libx264");
    guest.attach(0, 0);
    const pixels = grey(1);
    const rest = pixels.length - 1000;
    guest.frame(1, 0, { inlineBytes: pixels.length });
    await send(1, pixels, 0, rest);
    // In one write and one turn, so that the relay has both before the encoder's thread can say that it has read the first.
    vi.useFakeTimers({ toFake: ["performance"] });
    guest.socket.cork();
    await guest.data(1, rest, pixels.subarray(rest));
    guest.frame(2, 0, { inlineBytes: PICTURE_BYTES });
    guest.socket.uncork();
    await fatal();
    expect(guest.all("error").at(-1)?.body.text).toContain("FrameDone");
  });

  it("may be staged up to a limit for each session", async () => {
    await start();
    const size = { width: 4096, height: 4096 };
    const planes = [{ resource: 0, stride: 4 * size.width }];
    for (const buffer of [0, 1, 2]) {
      guest.send({ type: "attach", body: { buffer, ...size, fourcc: XR24, planes } });
    }
    const { body } = await guest.next("error", 1);
    expect(body).toMatchObject({ code: ErrorCode.LIMIT_EXCEEDED, subject: ErrorSubject.BUFFER, id: 2 });
    expect(body.text).toContain(String(LIMITS.MAX_INLINE_BYTES));
    guest.send({ type: "detach", body: { buffer: 0 } });
    guest.send({ type: "attach", body: { buffer: 2, ...size, fourcc: XR24, planes } });
    await guest.next("attached", 3);
  });

  it("let control messages stand between, which wait for the frame to be whole", async () => {
    await start();
    guest.attach(0, 0);
    const pixels = grey(1);
    guest.frame(1, 0, { inlineBytes: pixels.length });
    await guest.data(1, 0, pixels.subarray(0, 1000));
    guest.send({ type: "drain", body: { token: 7 } });
    guest.send({ type: "ping", body: { token: 8 } });
    await guest.next("pong", 1);
    expect(guest.all("drained")).toEqual([]);
    await send(1, pixels, 1000);
    await guest.next("drained", 1);
    expect(guest.types().filter((type) => type === "packet" || type === "drained")).toEqual([
      "packet",
      "drained",
    ]);
  });

  it.each([
    ["none at all", 0],
    ["one too few", PICTURE_BYTES - 1],
    ["one too many", PICTURE_BYTES + 1],
  ])("are refused with %s, and the stream goes on", async (_what, bytes) => {
    await start();
    guest.attach(0, 0);
    if (bytes > 0) await guest.inlineFrame(1, 0, Buffer.alloc(bytes));
    else guest.frame(1, 0);
    const { body } = await guest.next("error", 1);
    expect(body).toMatchObject({ code: ErrorCode.INVALID_VALUE, subject: ErrorSubject.FRAME_NUMBER, id: 1 });
    expect(body.text).toContain(String(PICTURE_BYTES));
    expect(guest.all("frameDone").length).toBe(1);
    guest.frame(2, 0, { inlineBytes: PICTURE_BYTES });
    for (let at = 0; at < PICTURE_BYTES; at += 32000) {
      guest.raw(Buffer.alloc(0));
      await guest.data(2, at, Buffer.alloc(Math.min(32000, PICTURE_BYTES - at)));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect((await guest.next("packet", 1)).body.frame).toBe(2);
  });

  it("are refused for a buffer in a resource", async () => {
    await startBound();
    await guest.inlineFrame(1, 0, grey(0));
    expect((await guest.next("error", 1)).body).toMatchObject({ code: ErrorCode.INVALID_VALUE, id: 1 });
  });

  it.each([
    ["of a frame that brings none", false, 1, 0, 10],
    ["with a gap", true, 1, 10, 10],
    ["of another frame", true, 2, 0, 10],
    ["that are none", true, 1, 0, 0],
  ])("end the session %s", async (_what, due, frame, offset, bytes) => {
    await start();
    guest.attach(0, 0);
    await guest.next("attached", 1);
    if (due) guest.frame(1, 0, { inlineBytes: PICTURE_BYTES });
    await guest.data(frame, offset, Buffer.alloc(bytes));
    await fatal();
    expect(guest.all("error").at(-1)?.body.code).toBe(ErrorCode.PROTOCOL_VIOLATION);
  });

  it("need a layout that begins where the bytes begin and names no resource in part", async () => {
    await start();
    const planes = [{ stride: WIDTH * 4 }, { resource: 1, stride: WIDTH * 4 }];
    const size = { width: WIDTH, height: HEIGHT, fourcc: XR24 };
    guest.send({ type: "attach", body: { buffer: 0, ...size, planes } });
    expect((await guest.next("error", 1)).body.text).toContain("planes[1].resource");
    guest.send({ type: "attach", body: { buffer: 0, ...size, planes: [{ stride: 3 }] } });
    expect((await guest.next("error", 2)).body.subject).toBe(ErrorSubject.BUFFER);
  });

  it("give their memory back when the guest goes in the middle of a frame", async () => {
    await start();
    guest.attach(0, 0);
    guest.frame(1, 0, { inlineBytes: PICTURE_BYTES });
    await guest.data(1, 0, Buffer.alloc(10));
    await guest.next("attached", 1);
    expect(stagingBytes()).toBeGreaterThanOrEqual(PICTURE_BYTES);
    guest.socket.destroy();
    await until(() => stagingBytes() === 0, "the end of the staging memory");
    guest = await bench.opened(false);
    guest.configure(1);
    guest.attach(0, 0);
    await guest.inlineFrame(1, 0, grey(1));
    await guest.next("packet", 1);
  });
});

describe("Probe", () => {
  it("reports the checksum of the buffer's pixels", async () => {
    await startBound();
    const pixels = Buffer.from(Array.from({ length: PICTURE_BYTES }, (_, n) => (n * 31) & 0xff));
    bench.resource(2, 0);
    bench.exporter.write(2, pixels);
    guest.attach(1, 2);
    guest.send({ type: "probe", body: { buffer: 1 } });
    const probed = { buffer: 1, crc: crc32(pixels), bytes: PICTURE_BYTES };
    expect((await guest.next("probed", 1)).body).toMatchObject(probed);
    guest.send({ type: "probe", body: { buffer: 5 } });
    const unknown = { code: ErrorCode.UNKNOWN_BUFFER, subject: ErrorSubject.BUFFER, id: 5 };
    expect((await guest.next("error", 1)).body).toMatchObject(unknown);
  });
});
