/** Parts of the page that need no browser. */
import { spawnSync } from "node:child_process";
import { beforeAll, describe, expect, test } from "vitest";
import { NAL_PPS, NAL_SPS, nalType, splitNalUnits, toSample } from "../../viewer/page/player/annexb.ts";
import { fragment, initialization } from "../../viewer/page/player/fmp4.ts";
import { Statistics } from "../../viewer/page/statistics.ts";
import { type Recording, record, SIZE } from "./support/recording.ts";

/** MD5 of every decoded frame, as ffmpeg decodes it. */
function frameSums(film: Uint8Array, format: "h264" | "mp4"): string[] {
  const args = [
    "-v",
    "error",
    "-f",
    format,
    "-i",
    "pipe:0",
    "-fps_mode",
    "passthrough",
    "-f",
    "framemd5",
    "-",
  ];
  const { stdout, stderr } = spawnSync("ffmpeg", args, { input: film, encoding: "utf8" });
  expect(stderr).toBe("");
  return stdout
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.split(",").at(-1)?.trim() ?? "");
}

describe("fragmented MP4", () => {
  let recording: Recording;
  beforeAll(async () => {
    recording = await record({ frames: 30, keyInterval: 10 });
  });

  test("has the very pictures of the byte stream that it was made of", () => {
    const units = recording.units.map(({ key, data }) => ({ key, nalUnits: splitNalUnits(data) }));
    const first = units[0]?.nalUnits ?? [];
    const sps = first.find((unit) => nalType(unit) === NAL_SPS) ?? new Uint8Array();
    const pps = first.find((unit) => nalType(unit) === NAL_PPS) ?? new Uint8Array();
    const fragments = units.map(({ key, nalUnits }, index) =>
      fragment({
        sequence: index + 1,
        // Beyond 32 bits, as after an hour.
        timeUs: 2 ** 33 + index * 100_000,
        durationUs: 100_000,
        key,
        data: toSample(nalUnits),
      }),
    );
    const film = Buffer.concat([initialization({ ...SIZE, sps, pps }), ...fragments]);
    const stream = Buffer.concat(recording.units.map(({ data }) => data));
    const sums = frameSums(film, "mp4");
    expect(sums).toHaveLength(30);
    expect(sums).toEqual(frameSums(stream, "h264"));
  });

  test("start codes of three and four bytes, and zeros before them, are no part of a NAL unit", () => {
    const stream = [0, 0, 0, 1, 0x67, 5, 0, 0, 1, 0x68, 6, 0, 0, 0, 0, 1, 0x65, 0, 0, 3, 1, 7];
    const units = splitNalUnits(Uint8Array.from(stream)).map((unit) => [...unit]);
    expect(units).toEqual([
      [0x67, 5],
      [0x68, 6],
      [0x65, 0, 0, 3, 1, 7],
    ]);
    expect(splitNalUnits(new Uint8Array())).toEqual([]);
  });
});

describe("the page's statistics", () => {
  const arrival = (at: number) => ({ at, bytes: 1000, stages: { encode: 2 } });

  test("count arrivals less than 8 ms apart as one burst, however many they are", () => {
    const statistics = new Statistics(0);
    for (const at of [0, 100, 104, 108, 200, 300, 305]) statistics.arrival(arrival(at));
    expect(statistics.take(1000)).toMatchObject({ received: 7, receivedBytes: 7000, bursts: 2, kbps: 56 });
    expect(statistics.take(2000)).toMatchObject({ received: 0, bursts: 0 });
  });

  test("give the middle and the twentieth largest of a second's times", () => {
    const statistics = new Statistics(0);
    for (let ms = 1; ms <= 100; ms += 1) {
      const paint = {
        number: ms,
        ptsUs: 0,
        queueMs: undefined,
        decodeMs: ms,
        paintMs: undefined,
        at: ms * 10,
      };
      statistics.paint(paint);
    }
    const { stages, interval, painted } = statistics.take(1000);
    expect(stages).toEqual({ decode: { p50: 50, p95: 95 } });
    expect([painted, interval]).toEqual([100, { p50: 10, p95: 10 }]);
  });

  test("tell drops by reason, and only those that line and decoder are to blame for to the server", () => {
    const statistics = new Statistics(0);
    statistics.drop("decoder behind", 2);
    statistics.drop("replaced by a newer one", 5);
    const { dropped, drops } = statistics.take(1000);
    expect([dropped, drops]).toEqual([2, { "decoder behind": 2, "replaced by a newer one": 5 }]);
  });
});
