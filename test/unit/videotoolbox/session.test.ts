/** The TypeScript half of the VideoToolbox back end, with the real native half and the shim. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { checkMac } from "../../../cli/doctor/macos.ts";
import { loadAddon } from "../../../common/load-addon.ts";
import {
  type EncoderConfiguration,
  EncoderFailedError,
  EncoderFullError,
  type EncoderSession,
} from "../../../host/encoders/encoder.ts";
import { createBackend } from "../../../host/encoders/index.ts";
import { VideoToolboxBackend } from "../../../host/encoders/videotoolbox.ts";
import { mappedRuns } from "../../../host/native/picture.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { until } from "../../support/until.ts";
import { hevcNalTypes, NAL, nalTypes } from "../encoders/support/annexb.ts";
import { decode, spsOf } from "../encoders/support/decode.ts";
import { Canvas, configurationOf } from "../encoders/support/encode.ts";
import { drawPattern, psnr, type RgbImage } from "../encoders/support/pattern.ts";
import { Recorder } from "../encoders/support/recorder.ts";
import { probing } from "./support/probing.ts";
import { shim } from "./support/shim.ts";

const [WIDTH, HEIGHT] = [320, 240];
/** dB, of 4 Mbit/s; a wrong matrix, range or order of channels is below 20. */
const LEAST_QUALITY = 30;
/** A session's first frame is its warm-up, which is not part of the stream. */
const WARM_UP = 1;

let canvas: Canvas;
let recorder: Recorder;
let liveBefore: number;
const opened: EncoderSession[] = [];

beforeEach(async () => {
  shim.setScript("");
  liveBefore = shim.liveObjects();
  canvas = await Canvas.create(WIDTH, HEIGHT);
  recorder = new Recorder();
});

afterEach(async () => {
  await Promise.all(opened.splice(0).map((session) => session.close()));
  await canvas.remove();
  expect(recorder.broken).toEqual([]);
  expect(mappedRuns()).toBe(0);
  expect(shim.liveObjects()).toBe(liveBefore);
  expect(shim.counters()).toMatchObject({ untagged_frames: 0, converted_frames: 0 });
});

async function open(changes: Partial<EncoderConfiguration> = {}, script = ""): Promise<EncoderSession> {
  shim.setScript(script);
  const configuration = configurationOf({ width: WIDTH, height: HEIGHT, ...changes });
  const session = await new VideoToolboxBackend().open(configuration, recorder.listener);
  opened.push(session);
  return session;
}

/** Draws and encodes the frames `from` … `to - 1`, one at a time. */
async function encode(session: EncoderSession, from: number, to: number): Promise<void> {
  for (let frame = from; frame < to; frame += 1) {
    canvas.draw(drawPattern(WIDTH, HEIGHT, frame));
    session.encode(canvas.picture, { frame, ptsNs: frame * 33_333_333, durationNs: 0, forceKeyFrame: false });
    await session.drain();
  }
}

const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

describe("the videotoolbox back end", () => {
  it("offers the codecs that open", async () => {
    expect(await probing("", () => createBackend(["videotoolbox"]).offers())).toMatchObject([
      {
        name: "videotoolbox",
        codec: "h264",
        hardware: true,
        profiles: ["high", "main", "constrained-baseline"],
      },
      { name: "videotoolbox", codec: "h265", hardware: true, profiles: ["main"] },
    ]);
  });

  it("comes first by default", async () => {
    const session = await probing("", () => createBackend().open(configurationOf(), recorder.listener));
    expect(session.description).toMatchObject({ encoder: "videotoolbox", hardware: true });
    await session.close();
  });

  it("never uses a software encoder, and reports that no other is available", async () => {
    const reported: string[] = [];
    const backend = createBackend(["videotoolbox", "libx264"], {
      onUnavailable: (encoder, reason) => reported.push(`${encoder}: ${reason}`),
    });
    const offers = await probing("no-hardware", () => backend.offers());
    expect(offers.map(({ name }) => name)).toEqual(["libx264"]);
    expect(reported).toHaveLength(1);
    expect(reported[0]).toMatch(/^videotoolbox: .*-12908/);
    const session = await backend.open(configurationOf(), recorder.listener);
    expect(session.description.encoder).toBe("libx264");
    await session.close();
  });

  it("that fails in mid-stream is followed by the next encoder, with a key frame and no wrong picture", async () => {
    const backend = createBackend(["videotoolbox", "libx264"]);
    const configuration = configurationOf({ width: WIDTH, height: HEIGHT });
    const session = await probing("", () => backend.open(configuration, recorder.listener));
    opened.push(session);
    // Its media engine is gone: every later session fails at its first frame.
    shim.setScript("fail:6+:-12903:async");
    await encode(session, 0, 12);
    expect(session.description.encoder).toBe("libx264");
    expect(recorder.errors).toEqual([{ frame: 5, message: expect.stringContaining("-12903") }]);
    expect(recorder.keys).toEqual([0, 6]);
    const shown = range(12).filter((frame) => frame !== 5);
    expect(recorder.packets.map(({ frame }) => frame)).toEqual(shown);
    const images = decode(recorder.stream, WIDTH, HEIGHT, "h264");
    expect(images).toHaveLength(shown.length);
    for (const [index, frame] of shown.entries()) {
      expect(psnr(drawPattern(WIDTH, HEIGHT, frame), images[index] as RgbImage)).toBeGreaterThan(
        LEAST_QUALITY,
      );
    }
  });

  it("rejects unsupported settings with their limit", async () => {
    await expect(open({ width: 4098, height: 64 })).rejects.toThrow("4098x64 exceeds its 4096x2304");
    await expect(open({ codec: "h265", profile: "high" })).rejects.toThrow("profile is high; it makes main");
  });

  it("lists its encoders for doctor", () => {
    const mac = {
      ...{ root: "/nowhere", home: "/nowhere/home", sockets: [] },
      run: () => ({ kind: "ended", status: 1, output: "", errors: "" }) as const,
      loadMedia: () => loadAddon("media"),
    };
    expect(checkMac(mac).find(({ name }) => name === "VideoToolbox")?.detail).toMatch(
      /^h264: com\.apple\.\S+avc, h265: com\.apple\.\S+hevc$/,
    );
  });
});

describe("a videotoolbox session", () => {
  it.each(["h264", "h265"] as const)("encodes %s that shows what was drawn", async (codec) => {
    const session = await open({ codec });
    await encode(session, 0, 20);
    await session.close();
    expect(recorder.packets.map(({ frame }) => frame)).toEqual(range(20));
    expect(recorder.keys).toEqual([0]);
    const images = decode(recorder.stream, WIDTH, HEIGHT, codec === "h264" ? "h264" : "hevc");
    expect(images).toHaveLength(20);
    images.forEach((image, frame) => {
      expect(psnr(drawPattern(WIDTH, HEIGHT, frame), image)).toBeGreaterThan(LEAST_QUALITY);
    });
    expect(recorder.notes[0]).toMatch(/low-latency rate control/);
  });

  it("puts parameter sets before each key frame, with the colours and without reordering", async () => {
    const session = await open({ keyframeInterval: 3 }, "split:7;extra-sets:2;nal-length:4");
    await encode(session, 0, 7);
    expect(recorder.keys).toEqual([0, 3, 6]);
    for (const { data, key } of recorder.packets) {
      const types = nalTypes(data).filter((type) => type !== NAL.sei);
      expect(types[0]).toBe(key ? NAL.sps : NAL.slice);
      expect(types.filter((type) => type === NAL.pps)).toHaveLength(key ? 3 : 0);
      if (!key) continue;
      const { colorimetry } = session.description;
      expect(spsOf(data)).toMatchObject({
        ...{ width: WIDTH, height: HEIGHT, profile: 100, maxReorderFrames: 0 },
        ...{ matrix: colorimetry.matrix, fullRange: colorimetry.fullRange },
      });
    }
  });

  it("starts each HEVC key frame with VPS, SPS and PPS", async () => {
    const session = await open({ codec: "h265", keyframeInterval: 2 });
    await encode(session, 0, 3);
    expect(hevcNalTypes(recorder.packets[2]?.data ?? new Uint8Array()).slice(0, 3)).toEqual([32, 33, 34]);
  });

  it("changes bit rate and key-frame interval without another session or a key frame", async () => {
    const session = await open();
    await encode(session, 0, 2);
    expect(session.reconfigure(configurationOf({ width: WIDTH, height: HEIGHT, bitrateKbps: 500 }))).toBe(
      true,
    );
    await encode(session, 2, 4);
    expect(session.description.bitrateKbps).toBe(500);
    expect(recorder.keys).toEqual([0]);
    expect(shim.counters()).toMatchObject({ sessions_created: 1 });
    expect(session.reconfigure(configurationOf({ width: WIDTH, height: HEIGHT + 2 }))).toBe(false);
  });

  it("takes eight frames at once, answers them in order, and can be closed meanwhile", async () => {
    const session = await open({}, "delay:*:20");
    canvas.draw(drawPattern(WIDTH, HEIGHT, 0));
    for (const frame of range(LIMITS.MAX_IN_FLIGHT_FRAMES)) {
      session.encode(canvas.picture, { frame, ptsNs: frame, durationNs: 0, forceKeyFrame: false });
    }
    await session.close();
    expect(recorder.answered).toBe(LIMITS.MAX_IN_FLIGHT_FRAMES);
    expect(recorder.read).toEqual(range(LIMITS.MAX_IN_FLIGHT_FRAMES));
  });
});

describe("a videotoolbox session that is disturbed", () => {
  const LOST_AT = 5;
  const LAST = 12;

  it.each([
    ["the session becomes invalid", "fail", ":-12903:async", /-12903/],
    ["the session becomes invalid while a frame is handed over", "fail", ":-12903:sync", /-12903/],
    ["the encoder malfunctions", "fail", ":-12912:async", /-12912/],
    ["the session malfunctions", "fail", ":-17691:sync", /-17691/],
    ["no encoder is free for a while", "fail", ":-12915:async", /-12915/],
    ["the callback of a refused frame comes late", "late", ":-12903", /-12903/],
    ["the session is silent", "silent", "", /no answer for/],
  ])("continues with a key frame when %s", async (_what, verb, how, note) => {
    const session = await open({}, `${verb}:${LOST_AT + WARM_UP}${how}`);
    await encode(session, 0, LAST);
    expect(recorder.packets.map(({ frame }) => frame)).toEqual(range(LAST));
    expect(recorder.keys).toEqual([0, LOST_AT - 1]);
    expect(recorder.errors).toEqual([]);
    expect(shim.counters()).toMatchObject({ sessions_created: 2 });
    expect(decode(recorder.stream, WIDTH, HEIGHT)).toHaveLength(LAST);
    expect(recorder.notes.join("\n")).toMatch(note);
  });

  it.each(["drop", "null"])("reports a frame that VideoToolbox drops (%s), and continues", async (how) => {
    const session = await open({}, `${how}:${LOST_AT + WARM_UP}`);
    await encode(session, 0, LAST);
    expect(recorder.dropped).toEqual([{ frame: LOST_AT - 1, reason: "encoder" }]);
    expect(recorder.packets).toHaveLength(LAST - 1);
    expect(decode(recorder.stream, WIDTH, HEIGHT)).toHaveLength(LAST - 1);
  });

  it("fails when no session lasts, answers pending frames and rejects new ones", async () => {
    const session = await open({}, `fail:${LOST_AT + WARM_UP}+:-12903:async`);
    await encode(session, 0, LOST_AT);
    const hasFailed = (): boolean => recorder.errors.some(({ frame }) => frame === undefined);
    await until(hasFailed, "the session's failure");
    const failure = recorder.errors.find(({ frame }) => frame === undefined)?.message;
    expect(failure).toMatch(/-12903/);
    expect(recorder.answered).toBe(LOST_AT);
    await expect(encode(session, LOST_AT, LOST_AT + 1)).rejects.toThrow(new EncoderFailedError(failure));
  });

  it("does not open when every encoder stays busy", async () => {
    await expect(open({}, "refuse:*:-12915")).rejects.toThrow(EncoderFullError);
    await expect(open({}, "refuse:*:-12915")).rejects.toThrow(/-12915/);
  });
});
