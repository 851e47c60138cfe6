import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";
import {
  EncoderBusyError,
  type EncoderConfiguration,
  EncoderFailedError,
  type EncoderSession,
  EncoderUnavailableError,
} from "../../../host/encoders/encoder.ts";
import type { LibavcodecOptions } from "../../../host/encoders/libavcodec.ts";
import { mappedRuns, type Picture } from "../../../host/native/picture.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { decode } from "./support/decode.ts";
import { Canvas, configurationOf, openSession, requestOf } from "./support/encode.ts";
import { geometryOf, linearPicture, releaseAll } from "./support/memory.ts";
import { drawPattern, FORMATS } from "./support/pattern.ts";
import type { Recorder } from "./support/recorder.ts";

const [WIDTH, HEIGHT] = [640, 360];
const CONFIGURATION = configurationOf({ width: WIDTH, height: HEIGHT });
const MOST = LIMITS.MAX_IN_FLIGHT_FRAMES;

let canvas: Canvas;
let recorder: Recorder;

beforeEach(async () => {
  canvas = await Canvas.create(WIDTH, HEIGHT);
  canvas.draw(drawPattern(WIDTH, HEIGHT, 0));
});

afterEach(releaseAll);

/** Opens a session whose events are in `recorder`. */
async function open(changes: Partial<EncoderConfiguration> = {}, options: LibavcodecOptions = {}) {
  const opened = await openSession({ ...CONFIGURATION, ...changes }, options);
  recorder = opened.recorder;
  return opened.session;
}

function encode(session: EncoderSession, frame: number, picture = canvas.picture, ptsNs = frame): void {
  session.encode(picture, { ...requestOf(frame), ptsNs });
}

/** Queues as many frames as a session takes. */
function fill(session: EncoderSession, first = 0, picture = canvas.picture): void {
  for (const frame of range(MOST)) encode(session, first + frame, picture);
}

const range = (count: number): number[] => [...Array(count).keys()];

describe("a libx264 session", () => {
  it("answers in order, with the times of each stage, and drains", async () => {
    const session = await open();
    fill(session);
    expect(recorder.answered).toBe(0);
    await session.drain();
    expect(recorder.read).toEqual(range(MOST));
    expect(recorder.packets.map(({ frame }) => frame)).toEqual(range(MOST));
    for (const { convertUs, encodeUs } of recorder.packets) {
      expect(convertUs).toBeGreaterThan(0);
      expect(encodeUs).toBeGreaterThan(0);
    }
    // The last one has waited for the others.
    expect(recorder.packets.at(-1)?.queueUs).toBeGreaterThan(recorder.packets.at(-2)?.encodeUs ?? 0);
    encode(session, MOST);
    await session.drain();
    await session.drain();
    expect(recorder.keys).toEqual([0]);
    await session.close();
    expect(decode(recorder.stream, WIDTH, HEIGHT)).toHaveLength(MOST + 1);
  });

  it("takes no more than the bound, and more once there are answers", async () => {
    const session = await open();
    fill(session);
    expect(() => encode(session, MOST)).toThrow(EncoderBusyError);
    expect(() => encode(session, MOST)).toThrow(/frame 8 exceeds the limit of 8 unanswered frames/);
    await session.drain();
    encode(session, MOST);
    await session.close();
    expect(recorder.answered).toBe(MOST + 1);
  });

  it("flushes queued frames, and continues without a key frame", async () => {
    const session = await open();
    encode(session, 0);
    await session.drain();
    fill(session, 1);
    await session.flush();
    expect(recorder.answered).toBe(MOST + 1);
    expect(recorder.dropped.length).toBeGreaterThanOrEqual(MOST - 1);
    expect(recorder.dropped.every(({ reason }) => reason === "flushed")).toBe(true);
    encode(session, 100);
    await session.drain();
    expect(recorder.packets.at(-1)).toMatchObject({ frame: 100, key: false });
    await session.close();
    expect(decode(recorder.stream, WIDTH, HEIGHT)).toHaveLength(recorder.packets.length);
  });

  it("can be closed while it is busy, and closed again; nothing follows", async () => {
    const session = await open();
    fill(session);
    const drained = session.drain();
    await Promise.all([session.close(), session.close()]);
    await drained;
    expect(recorder.answered).toBe(MOST);
    expect(() => encode(session, MOST)).toThrow(EncoderFailedError);
    await session.close();
    await session.flush();
    await session.drain();
    expect(session.reconfigure(CONFIGURATION)).toBe(false);
    // A late event would come before those of a later session.
    const later = await openSession(CONFIGURATION);
    await later.session.close();
    expect(recorder.answered).toBe(MOST);
  });

  it("keeps a picture mapped that is closed while frames of it wait", async () => {
    const session = await open();
    fill(session);
    await canvas.picture.close();
    // close() settles when the last frame has been read, so all but its event are here.
    expect(mappedRuns()).toBe(0);
    await session.drain();
    expect(recorder.packets).toHaveLength(MOST);
  });

  it("rejects a frame of another size, a stale time stamp and a closed picture, and continues", async () => {
    const session = await open();
    const small = await Canvas.create(320, 240);
    encode(session, 0);
    encode(session, 1, small.picture);
    encode(session, 2, canvas.picture, 0);
    encode(session, 3, canvas.picture, -1);
    encode(session, 4, canvas.picture, 0.5);
    await small.remove();
    encode(session, 5, small.picture);
    expect(recorder.errors).toHaveLength(4);
    encode(session, 6);
    await session.drain();
    expect(recorder.errors.map(({ frame }) => frame)).toEqual([1, 2, 3, 4, 5]);
    expect(recorder.errors[0]?.message).toMatch(/frame 1 is 320x240, .* configured for 640x360/);
    expect(recorder.errors[1]?.message).toMatch(/time stamp 0 ns, expected a whole number above 0/);
    expect(recorder.packets.map(({ frame }) => frame)).toEqual([0, 6]);
  });

  it("takes time stamps up to 2^53-1", async () => {
    const session = await open();
    encode(session, 1, canvas.picture, 0);
    encode(session, 2, canvas.picture, 2 ** 53 - 2);
    encode(session, 3, canvas.picture, 2 ** 53 - 1);
    await session.drain();
    expect(recorder.packets).toHaveLength(3);
  });

  it("needs a new session for another size, rate or colour", async () => {
    const session = await open();
    const changed = (changes: Partial<EncoderConfiguration>): boolean =>
      session.reconfigure({ ...CONFIGURATION, ...changes });
    expect(changed({ bitrateKbps: 100, keyframeInterval: 7 })).toBe(true);
    expect(changed({ width: 642 })).toBe(false);
    expect(changed({ framerate: { numerator: 60, denominator: 1 } })).toBe(false);
    expect(changed({ colorimetry: { ...CONFIGURATION.colorimetry, primaries: 9 } })).toBe(false);
    expect(() => changed({ width: 8 })).toThrow(EncoderUnavailableError);
  });

  it("fails as a whole when the native side rejects a frame, and answers queued frames", async () => {
    const session = await open();
    const small = await Canvas.create(320, 240);
    // The TypeScript side would reject this picture.
    const impostor = { layout: canvas.picture.layout, handle: small.picture.handle, closed: false };
    encode(session, 0);
    encode(session, 1, impostor as Picture);
    encode(session, 2);
    await session.drain();
    expect(recorder.packets.map(({ frame }) => frame)).toEqual([0]);
    expect(recorder.errors.map(({ frame }) => frame)).toEqual([1, undefined]);
    expect(recorder.dropped).toEqual([{ frame: 2, reason: "encoder" }]);
    expect(() => encode(session, 3)).toThrow(EncoderFailedError);
    expect(() => encode(session, 3)).toThrow(/the picture's size is not that of the encoder/);
    expect(session.reconfigure(CONFIGURATION)).toBe(false);
  });

  it("answers a frame that is too large for the wire with an error, and continues with a key frame", async () => {
    const [width, height] = [4096, 3072];
    const geometry = geometryOf(FORMATS.XR24.fourcc, width, height);
    const { picture, memory } = await linearPicture(randomBytes(width * height * 4), geometry);
    // Constant quality: rate control alone would not let it happen.
    const session = await open({ width, height }, { options: { qp: "1" } });
    encode(session, 0, picture);
    await session.drain();
    expect(recorder.errors).toMatchObject([{ frame: 0 }]);
    expect(recorder.errors[0]?.message).toMatch(/became \d+ bytes, at most 16777216 can be sent/);
    memory.write(0, Buffer.alloc(memory.size));
    encode(session, 1, picture);
    await session.drain();
    expect(recorder.keys).toEqual([1]);
  });

  it("reports the encoder's own reason when it does not open", async () => {
    await expect(open({}, { options: { preset: "warp" } })).rejects.toThrow(/libx264 does not open: .*warp/);
    const unknown = open({}, { options: { "no-such-option": "1" } });
    await expect(unknown).rejects.toBeInstanceOf(EncoderFailedError);
    await expect(unknown).rejects.toThrow(/unknown option no-such-option/);
  });

  it("rejects invalid configurations, naming field and limit", async () => {
    const wrong: [Partial<EncoderConfiguration>, RegExp][] = [
      [{ codec: "h265" }, /makes h264, not h265/],
      [{ width: 15 }, /width is 15, expected a whole number from 16 to 16384/],
      [{ height: 16385 }, /height is 16385/],
      [{ width: 16384, height: 16384 }, /1048576 macroblocks, H.264 and H.265 have at most 139264/],
      [{ bitrateKbps: 1000001 }, /bitrateKbps is 1000001/],
      [{ framerate: { numerator: 100000, denominator: 1 } }, /framerate is 100000\/1/],
      [{ keyframeInterval: -1 }, /keyframeInterval is -1/],
      [{ profile: "main", codec: "h265" }, /makes h264, not h265/],
      [{ bitrateKbps: 900_000 }, /level 6.2 allows no more than 800000000 bits a second .*, not 900000000/],
      [{ bitrateKbps: 450_000, rateControl: "vbr" }, /level 6.2 allows no more than 800000000 bits a second/],
    ];
    for (const [changes, message] of wrong) {
      await expect(open(changes)).rejects.toBeInstanceOf(EncoderUnavailableError);
      await expect(open(changes)).rejects.toThrow(message);
    }
  });

  it("opens at the extremes of what it allows", async () => {
    for (const changes of [
      { bitrateKbps: 1, framerate: { numerator: 1, denominator: 60 } },
      { bitrateKbps: 800_000, framerate: { numerator: 1000, denominator: 1 } },
      { bitrateKbps: 1_000_000, profile: "high" },
      { bitrateKbps: 400_000, rateControl: "vbr" },
      { framerate: { numerator: 0xffffffff, denominator: 0xfffffffe }, keyframeInterval: 0xffffffff },
      { pixelAspectRatio: { numerator: 0xffffffff, denominator: 3 } },
      { pixelAspectRatio: { numerator: 0, denominator: 0 } },
      { bitrateKbps: 0, keyframeInterval: 0 },
    ] satisfies Partial<EncoderConfiguration>[]) {
      const session = await open(changes);
      for (const frame of range(3)) encode(session, frame);
      await session.close();
      expect(recorder.errors).toEqual([]);
    }
  });
});

describe("many sessions", () => {
  it("do not delay each other, however long one of them takes", async () => {
    const [width, height] = [2048, 1152];
    const large = await Canvas.create(width, height);
    // Seconds a frame.
    const slow = await openSession(configurationOf({ width, height }), { options: { preset: "placebo" } });
    fill(slow.session, 0, large.picture);
    const session = await open();
    for (const frame of range(30)) {
      encode(session, frame);
      await session.drain();
    }
    expect(slow.recorder.packets.length).toBeLessThan(MOST);
    await slow.session.flush();
  });

  it("read one picture at the same time", async () => {
    const all = await Promise.all(range(4).map(() => openSession(CONFIGURATION)));
    for (const frame of range(MOST)) for (const { session } of all) encode(session, frame);
    await Promise.all(all.map(({ session }) => session.drain()));
    for (const { packets, stream } of all.map((each) => each.recorder)) {
      expect(packets).toHaveLength(MOST);
      expect(stream.equals(all[0]?.recorder.stream ?? Buffer.alloc(0))).toBe(true);
    }
  });

  it("leave no thread, mapping or descriptor behind", async () => {
    const threads = (): number =>
      readdirSync("/proc/self/task").filter((id) => {
        try {
          return readFileSync(`/proc/self/task/${id}/comm`, "utf8").startsWith("vsockenc-encode");
        } catch {
          return false; // it has ended meanwhile
        }
      }).length;
    const descriptors = (): number => readdirSync("/proc/self/fd").length;
    const mappings = (): number => readFileSync("/proc/self/maps", "utf8").split("vsockenc-memory-").length;
    const once = async (round: number): Promise<void> => {
      const other = await Canvas.create(WIDTH, HEIGHT, undefined, round);
      const { session } = await openSession(CONFIGURATION);
      fill(session, 0, other.picture);
      // Half of them are cut off in the middle.
      if (round % 2 === 0) await session.drain();
      const unmapped = other.remove();
      await session.close();
      await unmapped;
    };
    await once(0);
    expect(threads()).toBe(0);
    const counts = (): number[] => [threads(), descriptors(), mappings()];
    const [before, rss] = [counts(), process.memoryUsage.rss()];
    for (let round = 0; round < 50; round++) await once(round);
    expect(counts()).toEqual(before);
    // One session has 640 x 360 x 1.5 bytes a frame and several frames: 50 leaked ones would be above 100 MB.
    expect(process.memoryUsage.rss() - rss).toBeLessThan(64 * 2 ** 20);
  });

  it("do not keep a process from ending in the middle of its work", () => {
    const script = `${packageRoot}/test/unit/encoders/support/exit-while-busy.ts`;
    const { status, signal, stderr } = spawnSync(process.execPath, ["--import", "tsx", script], {
      cwd: packageRoot,
      encoding: "utf8",
    });
    expect({ status, signal, stderr }).toEqual({ status: 7, signal: null, stderr: "" });
  });
});
