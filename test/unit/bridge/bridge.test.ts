/** A bridge with real viewers, the real element and a real relay at the other end of a UNIX socket. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { vsockenc } from "../../../proto/protobuf.ts";
import { buildElement, GST_ENVIRONMENT } from "../../element/support/programs.ts";
import { inspectStream } from "../../support/ffmpeg.ts";
import { temporaryFolder } from "../../support/folder.ts";
import { until } from "../../support/until.ts";
import type { TestViewer } from "../viewer/support/test-viewer.ts";
import { bridges, startBridgeRelay } from "./support/bridges.ts";

const { StateCode } = vsockenc.viewer;

const SIZE = { width: 320, height: 180 };
const PICTURE = `width=${SIZE.width},height=${SIZE.height},framerate=30/1`;
const SOURCE = `videotestsrc is-live=true pattern=ball ! capsfilter caps=video/x-raw,format=NV12,${PICTURE}`;

const folder = temporaryFolder();
let relay: Awaited<ReturnType<typeof startBridgeRelay>>;
beforeAll(async () => {
  buildElement();
  // Read when the bridge loads GStreamer.
  Object.assign(process.env, GST_ENVIRONMENT);
  relay = await startBridgeRelay(folder);
});
afterAll(() => relay?.stop());

const start = bridges();

/** A viewer of a bridge of its own. @param toml lines of the bridge's configuration */
const watched = async (toml: string): Promise<TestViewer> => await (await start(toml)).watch();

/** A configuration that uses the relay. */
const configuration = (...lines: string[]): string =>
  [
    `source = ${JSON.stringify(SOURCE)}`,
    `encoder = { socket-path = ${JSON.stringify(relay.socket)}, keyframe-interval = 1000 }`,
    ...lines,
  ].join("\n");

const stateIs = (viewer: TestViewer, code: number) =>
  until(() => viewer.state?.code === code, `the state ${StateCode[code]}`);

/** Decodes units with FFmpeg. */
function decode(units: TestViewer["units"]): ReturnType<typeof inspectStream> {
  const file = join(folder, "units.h264");
  writeFileSync(file, Buffer.concat(units.map(({ data }) => data)));
  return inspectStream(file);
}

describe("a viewer of the bridge", () => {
  it("gets a stream that decodes, from a key frame on, with times and stages", async () => {
    const viewer = await watched(configuration());
    const known = (): boolean => viewer.all("statistics").some(({ encoder }) => encoder !== "");
    await until(known, "the encoder's numbers");
    await viewer.untilUnits(viewer.units.length + 20);
    const { units } = viewer;
    expect(viewer.all("configuration")[0]).toMatchObject(SIZE);
    expect(units[0]?.key).toBe(true);
    expect(decode(units)).toEqual({ frames: units.length, keyFrames: 1 });
    const times = units.map(({ ptsUs }) => Number(ptsUs));
    expect(times.every((time, index) => index === 0 || time > (times[index - 1] ?? 0))).toBe(true);
    expect(units.at(-1)?.stages?.encodeUs).toBeGreaterThan(0);
    expect(viewer.all("statistics").at(-1)).toMatchObject({ tier: "inline", encoder: "libx264" });
    await stateIs(viewer, StateCode.RUNNING);
  });

  it("gets a key frame when it asks for one, from the same encoder", async () => {
    const viewer = await watched(configuration());
    await viewer.untilUnits(5);
    viewer.send({ type: "keyFrameRequest", body: {} });
    await until(() => viewer.units.filter(({ key }) => key).length >= 2, "the second key frame");
    const { units } = viewer;
    expect(decode(units)).toEqual({ frames: units.length, keyFrames: 2 });
    expect(await relay.sessions()).toBe(1);
  });

  it("that joins later shares the encode and begins with a key frame", async () => {
    const { watch } = await start(configuration());
    const first = await watch();
    await first.untilUnits(10);
    const second = await watch();
    await second.untilUnits(20);
    expect(second.units[0]?.key).toBe(true);
    expect(decode(second.units).frames).toBe(second.units.length);
    const newest = second.units.at(-1);
    await until(() => first.numbers.includes(newest?.number ?? -1), "the same unit at the first viewer");
    expect(first.units.find(({ number }) => number === newest?.number)?.data).toEqual(newest?.data);
    expect(await relay.sessions()).toBe(1);
  });

  it("uses an encoder of the host only while it watches", async () => {
    const { watch, bridge } = await start(configuration());
    expect(await relay.sessions()).toBe(0);
    const viewer = await watch();
    await viewer.untilUnits(1);
    expect(await relay.sessions()).toBe(1);
    viewer.watch("");
    await until(async () => (await relay.sessions()) === 0, "a relay without sessions");
    const before = viewer.units.length;
    viewer.watch("screen");
    await viewer.untilUnits(before + 3);
    expect(viewer.units[before]?.key).toBe(true);
    await bridge.close();
    await until(async () => (await relay.sessions()) === 0, "a relay without sessions");
  });

  it("lowers the bit rate when its connection is congested", async () => {
    const viewer = await watched(configuration("bitrate = { min_kbps = 300, max_kbps = 3000 }"));
    await until(() => viewer.all("statistics").at(-1)?.bitrateKbps === 3000, "the highest bit rate");
    const clogged = { received: 30, receivedBytes: 40_000, decoded: 3, painted: 3, dropped: 27 };
    const body = { ...clogged, periodMs: 1000, decodeQueue: 30, roundTripUs: 900_000 };
    const reports = setInterval(() => viewer.send({ type: "report", body }), 500);
    try {
      await until(() => (viewer.all("statistics").at(-1)?.bitrateKbps ?? 0) < 3000, "a lower bit rate");
    } finally {
      clearInterval(reports);
    }
    expect(viewer.all("statistics").at(-1)?.bitrateKbps).toBeGreaterThanOrEqual(300);
  });
});

describe("when something fails, a viewer", () => {
  it("gets the reason for the missing picture, and the picture after the restart", async () => {
    const ending = SOURCE.replace("videotestsrc", "videotestsrc num-buffers=10");
    const viewer = await watched(configuration().replace(JSON.stringify(SOURCE), JSON.stringify(ending)));
    await stateIs(viewer, StateCode.FAILED);
    expect(viewer.state?.text).toBe("The pipeline has ended. The pipeline restarts in 0.5 s.");
    const before = viewer.units.length;
    expect(before).toBeGreaterThan(0);
    await viewer.untilUnits(before + 5);
    expect(viewer.units[before]?.key).toBe(true);
    await stateIs(viewer, StateCode.RUNNING);
  });

  it("gets the element's error, with increasing delays", async () => {
    const { watch, log } = await start(
      'pipeline = "filesrc location=/nonexistent/video ! appsink name=videosink"',
    );
    const viewer = await watch();
    await until(() => /restarts in 1 s/.test(viewer.state?.text ?? ""), "the second failure");
    expect(viewer.state).toMatchObject({
      code: StateCode.FAILED,
      text: expect.stringMatching(/^filesrc\d+ has failed: .*\/nonexistent/),
    });
    expect(log.join("")).toContain("the pipeline has failed");
  });

  it.each([
    ["missing element", "nosuchsrc ! appsink name=videosink", "has no element nosuchsrc: install the plugin"],
    ["unsupported media type", `${SOURCE} ! appsink name=videosink caps=video/x-raw`, "video/x-raw"],
  ])("gets the %s", async (_what, pipeline, text) => {
    const viewer = await watched(`pipeline = ${JSON.stringify(pipeline)}`);
    await stateIs(viewer, StateCode.FAILED);
    expect(viewer.state?.text).toContain(text);
  });

  it("is notified when the host disconnects, and resumes with a key frame", async () => {
    const viewer = await watched(configuration());
    await viewer.untilUnits(5);
    await relay.stop();
    await stateIs(viewer, StateCode.AWAY);
    expect(viewer.state?.text).toMatch(/^The encoder's host is away/);
    const before = viewer.units.length;
    await relay.start();
    await until(() => viewer.units.length > before, "a unit from the new relay");
    expect(viewer.units[before]?.key).toBe(true);
    await stateIs(viewer, StateCode.RUNNING);
    await viewer.untilUnits(before + 5);
    expect(decode(viewer.units.slice(before)).frames).toBe(viewer.units.length - before);
  });

  it("is notified when the host is away from the start", async () => {
    const viewer = await watched(configuration().replace("relay.sock", "none.sock"));
    const noHost = (): boolean => /host.*restarts in/.test(viewer.state?.text ?? "");
    await until(noHost, "the element's message about its host");
    expect(viewer.state?.code).toBe(StateCode.AWAY);
  });
});

it("runs a pipeline of desktop-bridge without losing access units", async () => {
  const pipeline = [
    `videotestsrc is-live=true do-timestamp=true ! video/x-raw,${PICTURE} ! videoconvert`,
    "video/x-raw,format=NV12",
    "queue max-size-buffers=1 leaky=downstream",
    `vsockenc socket-path=${relay.socket} bitrate=10000 keyframe-interval=120`,
    "h264parse",
    "video/x-h264,stream-format=byte-stream",
    "h264parse config-interval=-1",
    "video/x-h264,stream-format=byte-stream,alignment=au",
    "appsink name=videosink emit-signals=true max-buffers=2 drop=true sync=false",
  ].join(" ! ");
  const viewer = await watched(`pipeline = ${JSON.stringify(pipeline)}`);
  await viewer.untilUnits(10);
  // Blocks this process for a second, in which more units arrive than the sink holds.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000);
  await viewer.untilUnits(viewer.units.length + 30);
  const { units } = viewer;
  expect(viewer.numbers).toEqual(units.map((_, index) => index + (viewer.numbers[0] ?? 0)));
  expect(decode(units)).toEqual({ frames: units.length, keyFrames: 1 });
});
