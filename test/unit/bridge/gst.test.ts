/** gst.node with pipelines of GStreamer's own elements. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";
import { Pipeline, type PipelineEvent } from "../../../guest/bridge/gst.ts";
import { until } from "../../support/until.ts";

const open: Pipeline[] = [];
afterEach(async () => {
  for (const pipeline of open.splice(0)) await pipeline.close();
});

function parse(description: string): { pipeline: Pipeline; events: PipelineEvent[] } {
  const events: PipelineEvent[] = [];
  const pipeline = new Pipeline(description, "videosink", (event) => void events.push(event));
  open.push(pipeline);
  return { pipeline, events };
}

const SMALL = "videotestsrc name=source num-buffers=100 ! video/x-raw,format=GRAY8,width=16,height=16";
const SINK = "appsink name=videosink sync=false";

describe("a pipeline's text", () => {
  it.each([
    ["missing-element", "nosuchsrc ! fakesink", "nosuchsrc"],
    ["parse", "videotestsrc !", "syntax"],
    ["parse", "", "empty"],
    ["parse", "videotestsrc nosuch=1 ! fakesink", "nosuch"],
    ["sink", "videotestsrc ! fakesink name=videosink", "appsink name=videosink"],
    ["sink", "videotestsrc ! appsink", "appsink name=videosink"],
  ])("is rejected as %s: %s", (kind, text, named) => {
    const message = expect.stringContaining(named);
    expect(() => parse(text)).toThrow(expect.objectContaining({ name: "PipelineError", kind, message }));
  });

  it("may be a single element", () => {
    expect(parse(SINK).pipeline.elements()).toContainEqual({ name: "videosink", factory: "appsink" });
  });
});

describe("properties", () => {
  const { pipeline } = parse(`${SMALL} ! ${SINK}`);
  open.splice(0);
  afterAll(() => pipeline.close());

  it.each([
    ["pattern", "snow"],
    ["num-buffers", -1],
    ["is-live", true],
    ["timestamp-offset", 2 ** 40],
    ["foreground-color", 0xff00ff00],
  ])("%s takes %s", (property, value) => {
    pipeline.setProperty("source", property, value);
    expect(pipeline.getProperty("source", property)).toBe(value);
  });

  it.each([
    ["source", "pattern", "stripes", 'does not take "stripes"'],
    ["source", "pattern", 3, "is not a number"],
    ["source", "num-buffers", true, "is not a boolean"],
    ["source", "num-buffers", 2.5, "takes an integer from -1 to 2147483647"],
    ["source", "num-buffers", 2 ** 31, "takes an integer from -1 to 2147483647"],
    ["source", "num-buffers", Number.NaN, "takes an integer"],
    ["source", "nosuch", 1, "does not exist"],
    ["videosink", "eos", true, "is read-only"],
    ["nosuch", "pattern", "snow", "no element named nosuch"],
  ])("%s.%s does not take %s", (element, property, value, why) => {
    const message = expect.stringContaining(why);
    const error = expect.objectContaining({ name: "PipelineError", message });
    expect(() => pipeline.setProperty(element, property, value)).toThrow(error);
  });

  it("are objects where they are structures, and text where they are caps", () => {
    expect(pipeline.getProperty("videosink", "caps")).toBeNull();
    pipeline.setProperty("videosink", "caps", "video/x-raw,width=16");
    expect(pipeline.getProperty("videosink", "caps")).toContain("width=(int)16");
    expect(pipeline.getProperty("videosink", "stats")).toMatchObject({ rendered: 0, dropped: 0 });
  });
});

describe("a running pipeline", () => {
  it("delivers every sample in order, also to a late program, and then EOS", async () => {
    const { pipeline, events } = parse(`${SMALL} ! ${SINK} max-buffers=2 drop=false`);
    await pipeline.setState("playing");
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
    await until(() => events.some(({ kind }) => kind === "eos"), "the end");
    const samples = events.filter((event) => event.kind === "sample");
    expect(samples).toHaveLength(100);
    expect(samples.map(({ ptsUs }) => ptsUs)).toEqual(
      samples.map((_, index) => Math.floor((index * 1e6) / 30)),
    );
    expect(samples[0]).toMatchObject({ media: "video/x-raw", key: true, data: { length: 256 } });
    expect(events.at(-1)?.kind).toBe("eos");
  });

  it("names the failed element, and rejects the change of state", async () => {
    const { pipeline, events } = parse(`filesrc location=/nonexistent ! ${SINK}`);
    await expect(pipeline.setState("paused")).rejects.toMatchObject({ kind: "state" });
    expect(events).toContainEqual(
      expect.objectContaining({ kind: "error", factory: "filesrc", domain: "gst-resource-error-quark" }),
    );
  });

  it("reports its latency", async () => {
    const live = SMALL.replace("videotestsrc", "videotestsrc is-live=true");
    const { pipeline, events } = parse(`${live} ! ${SINK}`);
    await pipeline.setState("playing");
    await until(() => events.some(({ kind }) => kind === "sample"), "a sample");
    expect(await pipeline.queryLatency()).toMatchObject({ minUs: expect.any(Number) });
  });

  it("delivers nothing after close()", async () => {
    const { pipeline, events } = parse(`${SMALL} ! ${SINK}`);
    void pipeline.setState("playing");
    pipeline.forceKeyUnit();
    const closed = pipeline.close();
    const { length } = events;
    await closed;
    expect(events).toHaveLength(length);
    expect(pipeline.close()).toBe(pipeline.close());
    expect(() => pipeline.elements()).toThrow("disposed");
  });
});

it.each([
  ["in order", "await pipeline.close();"],
  ["by the end of the process", "process.exit(0);"],
])("leaks no GStreamer object when it ends %s", (_how, ending) => {
  const script = `
    import { Pipeline } from ${JSON.stringify(join(packageRoot, "guest", "bridge", "gst.ts"))};
    for (const text of ["nosuch ! fakesink", "videotestsrc ! fakesink"]) {
      try { new Pipeline(text, "videosink", () => {}); } catch {}
    }
    let samples = 0;
    const pipeline = new Pipeline(${JSON.stringify(`${SMALL} ! ${SINK} max-buffers=2`)}, "videosink", () => { samples += 1; });
    pipeline.getProperty("videosink", "stats");
    await pipeline.setState("playing");
    while (samples < 20) await new Promise((resolve) => setTimeout(resolve, 5));
    ${ending}`;
  const args = ["--import", "tsx", "--input-type=module", "--eval", script];
  const env = { ...process.env, GST_TRACERS: "leaks", GST_DEBUG: "GST_TRACER:7", GST_DEBUG_NO_COLOR: "1" };
  const { status, stderr } = spawnSync(process.execPath, args, { cwd: packageRoot, encoding: "utf8", env });
  expect(status, stderr.slice(-4000)).toBe(0);
  // The tracer prints the format of its records, which proves that it ran.
  expect(stderr).toContain("new format string: object-alive,");
  expect(stderr.split("\n").filter((line) => /TRACE .*: object-alive,/.test(line))).toEqual([]);
});
