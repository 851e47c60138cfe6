/**
 * The pipelines of Helix's desktop-bridge, which uses an element named vsockenc if there is one, with a real relay.
 *
 * They are Helix's except for the source and the relay's address: a videotestsrc and a compositor's caps replace
 * pipewiresrc. Two parts may drop frames: the queue, which keeps only the newest, and the element, which does the same
 * in a live pipeline. To assert that no frame is lost, the source is held back until the previous frame's sample has
 * arrived (run-pipeline --lockstep). So nothing waits in a queue, and a frame that depended on the next one would never
 * arrive. The appsink drops nothing, because its sample is taken in the signal handler before the next one.
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

/** Replaces `pipewiresrc path=N do-timestamp=true keepalive-time=500`, with the caps that it would offer. */
const source = (caps: string, format = "BGRx"): string =>
  `videotestsrc name=source is-live=true do-timestamp=true num-buffers=${FRAMES} ! capsfilter caps=video/x-raw,format=${format},${caps}`;

/** The rest of desktop-bridge's pipeline, from the element onwards. */
const bridge = (address: string, settings = "bitrate=10000 keyframe-interval=120"): string =>
  `vsockenc name=encoder ${address} ${settings} ! ${PARSED} ! ${VIDEOSINK}`;

const tcp = (): string => `tcp-host=127.0.0.1 tcp-port=${shared.relay.tcpPort}`;

const lockstep = (pipeline: string, ...options: readonly string[]): Promise<PipelineReport> =>
  runPipeline(pipeline, "--lockstep", "source", "--get", "encoder.bitrate", ...options);

/** Every frame arrived, without warnings other than the one about the missing virtio-gpu. */
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

const QUEUE = "queue max-size-buffers=1 leaky=downstream";
const NV12 = `videoconvert ! video/x-raw,format=NV12 ! ${QUEUE}`;

describe.each([
  [640, 360],
  [1366, 768],
])("desktop-bridge's pipelines at %ix%i", (width, height) => {
  it.each([
    ["videoconvert to NV12", NV12],
    ["videoconvert to BGRx at a rate", `videoconvert ! video/x-raw,format=BGRx,framerate=15/1 ! ${QUEUE}`],
    ["a rate in front", `video/x-raw,framerate=15/1 ! ${NV12}`],
  ])("give every frame with %s", async (_what, middle) => {
    const report = await lockstep(
      `${source(`width=${width},height=${height}`)} ! ${middle} ! ${bridge(tcp())}`,
    );
    expectEveryFrame(report);
    expect(report.keyFrames).toBe(1);
    expect(report.caps).toContain(`width=(int)${width}, height=(int)${height}`);
  });
});

describe("desktop-bridge's pipelines", () => {
  it("give every frame of a source without a frame rate, like a compositor", async () => {
    const middle = `capssetter caps=video/x-raw,framerate=0/1 ! videoconvert ! video/x-raw,format=BGRx ! ${QUEUE}`;
    const compositor = source("width=640,height=360,framerate=30/1");
    expectEveryFrame(await lockstep(`${compositor} ! ${middle} ! ${bridge(tcp())}`));
  });

  it("account for every frame when the source does not wait", async () => {
    const report = await runPipeline(
      `${source("width=640,height=360,framerate=60/1")} ! ${NV12} ! ${bridge(tcp())}`,
    );
    expect(report).toMatchObject({ end: "eos", errors: [] });
    const stats = report.stats as Record<string, number>;
    expect(report.samples).toBe(stats["frames-encoded"]);
    expect(stats["frames-in"]).toBe((stats["frames-encoded"] ?? 0) + (stats["dropped-newer"] ?? 0));
    expect(report.samples).toBeGreaterThan(0);
  });
});

describe("the element's transport", () => {
  const unix = (): string => `socket-path=${shared.relay.inlineSocket}`;

  it.each([
    ["takes socket-path", unix, () => shared.relay.inlineSocket],
    [
      "prefers a UNIX socket over TCP and vsock",
      () => `cid=2 port=5000 tcp-host=127.0.0.1 tcp-port=1 ${unix()}`,
      () => shared.relay.inlineSocket,
    ],
    [
      "prefers TCP over vsock",
      () => `cid=2 port=5000 ${tcp()}`,
      () => `127.0.0.1 port ${shared.relay.tcpPort}`,
    ],
  ])("%s", async (_what, address, transport) => {
    const report = await lockstep(`${source("width=640,height=360", "NV12")} ! ${bridge(address())}`);
    expectEveryFrame(report);
    expect(report.stats?.["transport"]).toBe(transport());
  });
});

describe("the bit rate", () => {
  const pipeline = (bitrate: number): string =>
    `${source("width=640,height=360", "NV12")} ! ${bridge(tcp(), `bitrate=${bitrate}`)}`;
  /** Bit rates of the encoders that the relay has opened so far. */
  const rates = (): number[] =>
    [...shared.relay.log.matchAll(/"bitrateKbps":(\d+).*"msg":"encoder opened"/g)].map(([, at]) =>
      Number(at),
    );

  it("is in kbit/s, as desktop-bridge passes it", async () => {
    const report = await lockstep(pipeline(10_000));
    expectEveryFrame(report);
    expect(rates().at(-1)).toBe(10_000);
  });

  it("is read as bit/s, with a warning, when it is too large for kbit/s", async () => {
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
