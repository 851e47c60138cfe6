import { describe, expect, it } from "vitest";
import {
  EncoderBusyError,
  EncoderFailedError,
  type EncoderSession,
  EncoderUnavailableError,
} from "../../../host/encoders/encoder.ts";
import {
  createBackend,
  DEFAULT_ENCODERS,
  isEncoderName,
  PreferredBackend,
} from "../../../host/encoders/index.ts";
import { LibavcodecBackend } from "../../../host/encoders/libavcodec.ts";
import { NullBackend } from "../../../host/encoders/null.ts";
import { encodedColorimetry, keyframeInterval, ratesOf } from "../../../host/encoders/plan.ts";
import type { Picture } from "../../../host/native/picture.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { NAL, nalTypes } from "./support/annexb.ts";
import { configurationOf, requestOf } from "./support/encode.ts";
import { Recorder } from "./support/recorder.ts";

const ignore = (): void => {};
const broken = new LibavcodecBackend("libx264", { options: { preset: "warp" } });

describe("createBackend", () => {
  it("offers in the order of the preference list", async () => {
    const names = async (...list: ("libx264" | "null")[]): Promise<string[]> =>
      (await createBackend(list).offers()).map(({ name }) => name);
    expect(await names("libx264", "null")).toEqual(["libx264", "null"]);
    expect(await names("null", "libx264")).toEqual(["null", "libx264"]);
    expect((await createBackend().offers())[0]).toMatchObject({
      name: "libx264",
      codec: "h264",
      hardware: false,
      profiles: ["constrained-baseline", "main", "high"],
    });
    expect((await createBackend(["libx265"]).offers())[0]?.profiles).toEqual(["main"]);
  });

  it("opens the first that can", async () => {
    expect(await broken.offers()).toEqual([]);
    const backend = new PreferredBackend([broken, new NullBackend()]);
    const session = await backend.open(configurationOf(), ignore);
    expect(session.description.encoder).toBe("null");
    await session.close();
  });

  it("reports each reason when none can", async () => {
    const none = createBackend(["libx264", "null"]).open(configurationOf({ codec: "h265" }), ignore);
    await expect(none).rejects.toBeInstanceOf(EncoderUnavailableError);
    await expect(none).rejects.toThrow(
      /no encoder for h265 320x240: libx264: it makes h264, not h265; null: it makes h264, not h265/,
    );
    await expect(createBackend([]).open(configurationOf(), ignore)).rejects.toThrow(/none is configured/);
  });

  it("reports errors of the configuration before those of the machine", async () => {
    const none = new PreferredBackend([broken, new NullBackend()]);
    await expect(none.open(configurationOf({ levels: [10] }), ignore)).rejects.toThrow(
      /320x240: null: the stream needs H.264 level 2.1, .*; libx264: libx264 does not open/,
    );
  });

  it("knows the names of encoders", () => {
    expect(["libx264", "null", "libvpx", "toString"].map(isEncoderName)).toEqual([true, true, false, false]);
  });

  it("rejects invalid numbers of threads", () => {
    expect(() => createBackend(["libx264"], { threads: 0 })).toThrow(
      /threads is 0, expected a whole number from 1 to 64/,
    );
  });
});

describe("hardware", () => {
  const hardware = ["h264_vaapi", "h264_nvenc", "hevc_vaapi", "hevc_nvenc"] as const;

  it("comes before software, for each codec", () => {
    expect(DEFAULT_ENCODERS).toEqual([
      "videotoolbox",
      "h264_vaapi",
      "h264_nvenc",
      "libx264",
      "hevc_vaapi",
      "hevc_nvenc",
      "libx265",
    ]);
  });

  // CI has no such GPU; with one the encoders open.
  it("that does not open is reported once with the reason, and is not fatal", async () => {
    const reported: string[] = [];
    const backend = createBackend([...hardware, "libx264", "libx265"], {
      onUnavailable: (encoder, reason) => reported.push(`${encoder}: ${reason}`),
    });
    const offers = await backend.offers();
    await backend.offers();
    const opened = offers.map(({ name }) => name);
    expect(opened.slice(-2)).toEqual(["libx264", "libx265"]);
    const missing = hardware.filter((name) => !opened.includes(name));
    expect(reported.map((line) => line.split(":")[0]).sort()).toEqual([...missing].sort());
    for (const line of reported) expect(line).toMatch(/^(\w+): \1 does not open: .+/);
    for (const codec of ["h264", "h265"] as const) {
      const session = await backend.open(configurationOf({ codec }), ignore);
      expect(session.description.encoder).toBe(offers.find((offer) => offer.codec === codec)?.name);
      await session.close();
    }
    expect(reported).toHaveLength(missing.length);
  });

  it("that is absent is named when nothing else could do it", async () => {
    const none = createBackend(["libx265"], { options: { preset: "warp" } });
    await expect(none.open(configurationOf({ codec: "h265" }), ignore)).rejects.toThrow(
      /no encoder for h265 320x240: libx265: libx265 does not open: /,
    );
  });
});

describe("settings", () => {
  it("choose a bit rate by pixels and rate, within bounds", () => {
    const kbps = (width: number, height: number, numerator: number): number => {
      const framerate = { numerator, denominator: 1 };
      return (
        ratesOf(configurationOf({ width, height, bitrateKbps: 0, framerate }), "main").bitsPerSecond / 1000
      );
    };
    expect(kbps(1920, 1080, 60)).toBe(9953);
    expect(kbps(1920, 1080, 240)).toBe(9953);
    expect(kbps(1280, 720, 30)).toBe(2212);
    expect(kbps(160, 120, 30)).toBe(300);
    expect(kbps(16384, 2048, 60)).toBe(100000);
    expect(kbps(1920, 1080, 0)).toBe(9953);
  });

  it("choose two seconds between key frames", () => {
    const frames = (numerator: number, denominator: number): number =>
      keyframeInterval(configurationOf({ keyframeInterval: 0, framerate: { numerator, denominator } }));
    expect([frames(30, 1), frames(0, 1), frames(30000, 1001), frames(1, 10)]).toEqual([60, 120, 60, 1]);
  });

  it("describe unknown or reserved colours as sRGB", () => {
    const of = (primaries: number, transfer: number) => {
      const colorimetry = { primaries, transfer, matrix: 0, fullRange: true };
      return encodedColorimetry(configurationOf({ colorimetry }), false);
    };
    const usual = { primaries: 1, transfer: 13, matrix: 6, fullRange: false };
    for (const unknown of [0, 2, 3, 255]) expect(of(unknown, unknown)).toEqual(usual);
    expect(of(9, 18)).toEqual({ ...usual, primaries: 9, transfer: 18 });
  });
});

describe("the null back end", () => {
  // It must not look at the picture, so there is none.
  const picture = undefined as unknown as Picture;
  const encode = (session: EncoderSession, frame: number, forceKeyFrame = false): void =>
    session.encode(picture, requestOf(frame, forceKeyFrame));

  async function open() {
    const recorder = new Recorder();
    const configuration = configurationOf({ width: 33, keyframeInterval: 4 });
    return { recorder, session: await new NullBackend().open(configuration, recorder.listener) };
  }

  it("answers every frame, later, with key frames by interval and by force", async () => {
    const { recorder, session } = await open();
    for (let frame = 0; frame < 14; frame++) {
      encode(session, frame, frame === 6);
      expect(recorder.answered).toBe(frame);
      await session.drain();
    }
    expect(recorder.keys).toEqual([0, 4, 6, 10]);
    for (const { key, data } of recorder.packets) {
      expect(nalTypes(data)).toEqual(key ? [NAL.sps, NAL.pps, NAL.idr] : [NAL.slice]);
    }
    expect(session.description).toMatchObject({ width: 34, height: 240 });
    expect(session.reconfigure(configurationOf({ width: 33, keyframeInterval: 2 }))).toBe(true);
    expect(session.reconfigure(configurationOf({ width: 34 }))).toBe(false);
    await session.close();
    expect(recorder.broken).toEqual([]);
  });

  it("takes profile, levels and rate control by name, with the values in force", async () => {
    const backend = new NullBackend();
    expect((await backend.offers())[0]?.profiles).toEqual(["constrained-baseline", "main", "high"]);
    const chosen = { bitrateKbps: 0, keyframeInterval: 0 };
    const configuration = configurationOf({ profile: "high", levels: [31], ...chosen });
    const session = await backend.open(configuration, ignore);
    expect(session.description).toMatchObject({ bitrateKbps: 300, keyframeInterval: 60 });
    expect(session.reconfigure({ ...configuration, bitrateKbps: 900 })).toBe(true);
    expect(session.description.bitrateKbps).toBe(900);
    expect(session.reconfigure({ ...configuration, profile: "main" })).toBe(false);
    expect(session.reconfigure({ ...configuration, rateControl: "vbr" })).toBe(false);
    expect(session.reconfigure({ ...configuration, levels: [40] })).toBe(false);
    await session.close();
    await expect(backend.open({ ...configuration, levels: [10] }, ignore)).rejects.toThrow(
      /needs H.264 level 1.3, levels allows 1: /,
    );
  });

  it("has the bound, flush and close of the real one", async () => {
    const { recorder, session } = await open();
    for (let frame = 0; frame < LIMITS.MAX_IN_FLIGHT_FRAMES; frame++) encode(session, frame);
    expect(() => encode(session, 99)).toThrow(EncoderBusyError);
    await session.flush();
    expect(recorder.dropped).toHaveLength(LIMITS.MAX_IN_FLIGHT_FRAMES);
    encode(session, 100);
    await session.drain();
    expect(recorder.packets.map(({ frame }) => frame)).toEqual([100]);
    await session.close();
    expect(() => encode(session, 101)).toThrow(EncoderFailedError);
    expect(recorder.broken).toEqual([]);
  });
});
