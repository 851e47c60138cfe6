/** Parts of the page that need no browser. */
import { spawnSync } from "node:child_process";
import { beforeAll, describe, expect, test } from "vitest";
import { ServerClock } from "../../viewer/page/connection/server-clock.ts";
import { NAL_PPS, NAL_SPS, nalType, splitNalUnits, toSample } from "../../viewer/page/player/mse/annexb.ts";
import { fragment, initialization } from "../../viewer/page/player/mse/fmp4.ts";
import { paintOf } from "../../viewer/page/player/unit.ts";
import { Statistics } from "../../viewer/page/statistics/statistics.ts";
import { type Recording, record, SIZE } from "./support/recording.ts";

/** MD5 of every decoded frame, as ffmpeg decodes it. */
function frameSums(film: Uint8Array, format: "h264" | "mp4"): string[] {
  const args = `-v error -f ${format} -i pipe:0 -fps_mode passthrough -f framemd5 -`.split(" ");
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

  test("decodes to the same pictures as the byte stream", () => {
    const units = recording.units.map(({ key, data }) => ({ key, nalUnits: splitNalUnits(data) }));
    const first = units[0]?.nalUnits ?? [];
    const sps = first.find((unit) => nalType(unit) === NAL_SPS) ?? new Uint8Array();
    const pps = first.find((unit) => nalType(unit) === NAL_PPS) ?? new Uint8Array();
    // Beyond 32 bits, as after an hour.
    const [start, step] = [2 ** 33, 100_000];
    const fragments = units.map(({ key, nalUnits }, index) =>
      fragment({
        sequence: index + 1,
        timeUs: start + index * step,
        durationUs: step,
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

  test("NAL units exclude start codes of three and four bytes and zeros before them", () => {
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
  test("count arrivals less than 8 ms apart as one burst, however many they are", () => {
    const statistics = new Statistics(0);
    for (const at of [0, 100, 104, 108, 200, 300, 305]) statistics.arrival(at, 1000);
    expect(statistics.take(1000)).toMatchObject({ received: 7, receivedBytes: 7000, bursts: 2, kbps: 56 });
    expect(statistics.take(2000)).toMatchObject({ received: 0, bursts: 0 });
  });

  test("give median and p95 of a second's times", () => {
    const statistics = new Statistics(0);
    for (let ms = 1; ms <= 100; ms += 1) {
      statistics.paint({ at: ms * 10, times: { decode: ms }, totalMs: 3 * ms });
    }
    const { stages, total, interval, painted } = statistics.take(1000);
    expect(stages).toEqual({ decode: { p50: 50, p95: 95 } });
    expect(total).toEqual({ p50: 150, p95: 285 });
    expect([painted, interval]).toEqual([100, { p50: 10, p95: 10 }]);
  });

  test("count drops by reason, and report to the server only those of connection and decoder", () => {
    const statistics = new Statistics(0);
    statistics.drop("decoder behind", 2);
    statistics.drop("replaced by a newer one", 5);
    const { dropped, drops } = statistics.take(1000);
    expect([dropped, drops]).toEqual([2, { "decoder behind": 2, "replaced by a newer one": 5 }]);
  });
});

test("a frame's total includes stages that the browser does not report", () => {
  const frame = { number: 1, ptsUs: 0 };
  const unit = { ...frame, key: true, replay: false, arrivedAt: 1000, times: { encode: 4, network: 6 } };
  const times = { ...unit.times, decode: 2 };
  expect(paintOf(unit, times, 1030)).toEqual({ ...frame, times, totalMs: 40, at: 1030 });
});

describe("the server's clock", () => {
  /** The page's clock, in ms, when the server's shows this. */
  const pageAt = (serverMs: number): number => serverMs + 5000;

  test("gives the time under way by the shortest of the latest round trips", () => {
    const clock = new ServerClock();
    expect(clock.underway(0, 0)).toBeUndefined();
    // The answer to this one was delayed.
    clock.answered(pageAt(1000), pageAt(1060), 1_010_000);
    clock.answered(pageAt(2000), pageAt(2004), 2_002_000);
    clock.answered(pageAt(3000), pageAt(3050), 3_040_000);
    expect(clock.underway(3_100_000, pageAt(3107))).toBe(7);
  });

  test("forgets old round trips, because clocks drift", () => {
    const clock = new ServerClock();
    clock.answered(pageAt(0), pageAt(2), 1000);
    for (let second = 1; second <= 16; second += 1) {
      const sent = second * 1000;
      // The page's clock runs fast.
      clock.answered(pageAt(sent) + 10, pageAt(sent + 8) + 10, (sent + 4) * 1000);
    }
    expect(clock.underway(20_000_000, pageAt(20_005) + 10)).toBe(5);
  });

  test("is never negative", () => {
    const clock = new ServerClock();
    // The whole round trip was the way back, not half of it.
    clock.answered(pageAt(1000), pageAt(1020), 1_000_000);
    expect(clock.underway(2_000_000, pageAt(2003))).toBe(0);
  });
});
