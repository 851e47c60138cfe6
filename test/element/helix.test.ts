/**
 * The pipelines of Helix's desktop-bridge, which picks an element named vsockenc where there is one, with a real relay.
 *
 * They stand here as Helix has them, but for the source and for the relay's address: a videotestsrc and the caps that a
 * compositor would have chosen, in place of pipewiresrc. Two things in them may drop frames: the queue, which keeps the
 * newest only, and the element, which does the same in a live pipeline. So that "every frame" can be asserted, the
 * source gives a frame when the sample of the one before has arrived (run-pipeline --lockstep): then nothing ever waits,
 * and a frame that comes out only with the next one's help never comes. The appsink drops nothing, because its signal
 * is emitted, and the sample taken, before it is given another.
 */
import { describe, expect, it } from "vitest";
import { buildElement, type PipelineReport, runPipeline } from "./support/programs.ts";
import { shareRelay } from "./support/relay.ts";

const FRAMES = 20;
const VIDEOSINK = "appsink name=videosink emit-signals=true max-buffers=2 drop=true sync=false";
const PARSED =
  "h264parse ! video/x-h264,stream-format=byte-stream ! " +
  "h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au";

buildElement("run-pipeline");
const shared = shareRelay();

/** What stands for `pipewiresrc path=N do-timestamp=true keepalive-time=500`, with the caps that it would offer. */
const source = (caps: string, format = "BGRx"): string =>
  `videotestsrc name=source is-live=true do-timestamp=true num-buffers=${FRAMES} ! capsfilter caps=video/x-raw,format=${format},${caps}`;

/** The rest of desktop-bridge's pipeline, from the element on. */
const bridge = (address: string, settings = "bitrate=10000 keyframe-interval=120"): string =>
  `vsockenc name=encoder ${address} ${settings} ! ${PARSED} ! ${VIDEOSINK}`;

const tcp = (): string => `tcp-host=127.0.0.1 tcp-port=${shared.relay.tcpPort}`;

const lockstep = (pipeline: string, ...options: readonly string[]): Promise<PipelineReport> =>
  runPipeline(pipeline, "--lockstep", "source", "--get", "encoder.bitrate", ...options);

/** Every frame came, and nobody complained of anything but that there is no virtio-gpu. */
function expectEveryFrame(report: PipelineReport): void {
  expect(report).toMatchObject({ end: "eos", errors: [], samples: FRAMES });
  expect(report.stats).toMatchObject({
    "frames-in": FRAMES,
    "frames-encoded": FRAMES,
    "dropped-newer": 0,
    "dropped-disconnected": 0,
    sessions: 1,
  });
  for (const { text } of report.warnings) expect(text).toMatch(/virtio-gpu/);
  expect(report.caps).toMatch(/^video\/x-h264/);
  expect(report.caps).toMatch(/stream-format=\(string\)byte-stream/);
  expect(report.caps).toMatch(/alignment=\(string\)au/);
}

describe("desktop-bridge's pipelines", () => {
  const conversions = {
    "videoconvert to NV12":
      "videoconvert ! video/x-raw,format=NV12 ! queue max-size-buffers=1 leaky=downstream",
    "videoconvert to BGRx at a rate":
      "videoconvert ! video/x-raw,format=BGRx,framerate=15/1 ! queue max-size-buffers=1 leaky=downstream",
    "a rate in front":
      "video/x-raw,framerate=15/1 ! videoconvert ! video/x-raw,format=NV12 ! queue max-size-buffers=1 leaky=downstream",
  };
  const sizes = { "640x360": "width=640,height=360", "1366x768": "width=1366,height=768" };
  const cases = Object.entries(conversions).flatMap(([what, middle]) =>
    Object.entries(sizes).map(([name, size]) => ({ what, middle, name, size })),
  );

  it.each(cases)("give every frame with $what, $name", async ({ middle, size }) => {
    const report = await lockstep(`${source(size)} ! ${middle} ! ${bridge(tcp())}`);
    expectEveryFrame(report);
    expect(report.keyFrames).toBe(1);
    for (const field of size.split(",")) expect(report.caps).toContain(field.replace("=", "=(int)"));
  });

  it("give every frame of a source without a rate, as compositors are", async () => {
    const middle = "videoconvert ! video/x-raw,format=BGRx ! queue max-size-buffers=1 leaky=downstream";
    const caps = "capssetter caps=video/x-raw,framerate=0/1";
    const report = await lockstep(
      `${source("width=640,height=360,framerate=30/1")} ! ${caps} ! ${middle} ! ${bridge(tcp())}`,
    );
    expectEveryFrame(report);
  });

  it("account for every frame when the source does not wait for anybody", async () => {
    const middle = "videoconvert ! video/x-raw,format=NV12 ! queue max-size-buffers=1 leaky=downstream";
    const report = await runPipeline(
      `${source("width=640,height=360,framerate=60/1")} ! ${middle} ! ${bridge(tcp())}`,
    );
    expect(report).toMatchObject({ end: "eos", errors: [] });
    const stats = report.stats as Record<string, number>;
    expect(report.samples).toBe(stats["frames-encoded"]);
    expect(stats["frames-in"]).toBe((stats["frames-encoded"] ?? 0) + (stats["dropped-newer"] ?? 0));
    expect(report.samples).toBeGreaterThan(0);
  });
});

describe("the element's ways to the relay", () => {
  const pipeline = (address: string): string =>
    `${source("width=640,height=360", "NV12")} ! ${bridge(address)}`;

  it("takes socket-path", async () => {
    const report = await lockstep(pipeline(`socket-path=${shared.relay.inlineSocket}`));
    expectEveryFrame(report);
    expect(report.stats?.["transport"]).toBe(shared.relay.inlineSocket);
  });

  it("prefers a UNIX socket to TCP and vsock", async () => {
    const report = await lockstep(
      pipeline(`cid=2 port=5000 tcp-host=127.0.0.1 tcp-port=1 socket-path=${shared.relay.inlineSocket}`),
    );
    expectEveryFrame(report);
    expect(report.stats?.["transport"]).toBe(shared.relay.inlineSocket);
  });

  it("prefers TCP to vsock", async () => {
    const report = await lockstep(pipeline(`cid=2 port=5000 ${tcp()}`));
    expectEveryFrame(report);
    expect(report.stats?.["transport"]).toBe(`127.0.0.1 port ${shared.relay.tcpPort}`);
  });
});

describe("the bit rate", () => {
  const pipeline = (bitrate: number): string =>
    `${source("width=640,height=360", "NV12")} ! ${bridge(tcp(), `bitrate=${bitrate}`)}`;
  /** Rates of the encoders that the relay has opened so far. */
  const rates = (): number[] =>
    [...shared.relay.log.matchAll(/"bitrateKbps":(\d+).*"msg":"encoder opened"/g)].map(([, rate]) =>
      Number(rate),
    );

  it("is in kbit/s, as the bridge passes it", async () => {
    const report = await lockstep(pipeline(10_000));
    expectEveryFrame(report);
    expect(rates().at(-1)).toBe(10_000);
  });

  it("is taken for bit/s, with a warning, when it cannot be meant otherwise", async () => {
    const report = await lockstep(pipeline(10_000_000));
    expect(report).toMatchObject({ end: "eos", samples: FRAMES });
    expect(report.warnings.map(({ text }) => text).join("\n")).toMatch(/bitrate.*10000000.*bit\/s/s);
    expect(rates().at(-1)).toBe(10_000);
  });
});

describe("other containers and codecs", () => {
  it.each([
    ["H.264 with its parameter sets in the caps", "video/x-h264,stream-format=avc ! h264parse"],
    ["H.265", "video/x-h265,stream-format=byte-stream ! h265parse"],
    ["H.265 with its parameter sets in the caps", "video/x-h265,stream-format=hvc1 ! h265parse"],
  ])("give every frame as %s", async (_what, parse) => {
    const report = await lockstep(
      `${source("width=640,height=360", "NV12")} ! vsockenc name=encoder ${tcp()} ! ${parse} ! ${VIDEOSINK}`,
    );
    expect(report).toMatchObject({ end: "eos", errors: [], samples: FRAMES });
    expect(report.caps).toMatch(/profile=\(string\)\S+/);
    expect(report.caps).toMatch(/level=\(string\)\S+/);
  });
});
