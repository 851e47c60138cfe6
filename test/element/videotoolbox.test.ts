/**
 * The element and a relay with the VideoToolbox back end, on Linux: the back end's sources are compiled unchanged against
 * test/videotoolbox-shim, with AddressSanitizer and UndefinedBehaviorSanitizer. This tests the two together under
 * every error that the shim simulates; it does not replace a test on a Mac.
 */
import { mkdtempSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { inspectStream } from "../support/ffmpeg.ts";
import { temporaryFolder } from "../support/folder.ts";
import { SANITIZED_ADDONS, SANITIZER_RUNTIME } from "../unit/videotoolbox/support/sanitized.ts";
import {
  buildElement,
  expectPattern,
  listTests,
  passRelayTest,
  programPath,
  run,
  runPipeline,
} from "./support/programs.ts";
import { TestRelay } from "./support/relay.ts";

const PROGRAM = "element-relay-test";
const SIZE = { width: 320, height: 240 };
const FRAMES = 300;

buildElement(PROGRAM, "pattern", "run-pipeline");

const folders = temporaryFolder();
let folder: string;
let relay: TestRelay | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(folders, "test-"));
  relay = undefined;
});
afterEach(async () => {
  await relay?.stop();
  // Messages of the sanitizers and of the shim.
  expect(relay?.log ?? "").not.toMatch(/ERROR: \w+Sanitizer|runtime error: |vt_shim: /);
});

async function start(script: string): Promise<TestRelay> {
  relay = await TestRelay.start(folder, {
    encoders: ["videotoolbox"],
    // The shim counts, and reports, for a process.
    isolation: "none",
    environment: {
      ...SANITIZER_RUNTIME,
      VSOCKENC_ADDONS: SANITIZED_ADDONS,
      VT_SHIM_SCRIPT: script,
      VT_SHIM_REPORT: join(folder, "report.json"),
    },
  });
  return relay;
}

/** Stops the relay; returns the shim's counters. */
async function counters(): Promise<Readonly<Record<string, number>>> {
  await relay?.stop();
  return JSON.parse(readFileSync(join(folder, "report.json"), "utf8")) as Record<string, number>;
}

/** Sends the frames through the element and a relay with this script; returns the file. */
async function encode(script: string, codec: "h264" | "h265" = "h264"): Promise<string> {
  const { inlineSocket } = await start(script);
  const file = join(folder, `video.${codec}`);
  const raw = join(folder, "frames.raw");
  const drawing = `--frames ${FRAMES} --width ${SIZE.width} --height ${SIZE.height} --format BGRx > ${raw}`;
  expect((await run("sh", ["-c", `"$0" ${drawing}`, programPath("pattern")])).status).toBe(0);
  const report = await runPipeline(
    `filesrc location=${raw} ! rawvideoparse format=bgrx width=${SIZE.width} height=${SIZE.height} framerate=30/1 ! ` +
      `vsockenc name=encoder socket-path=${inlineSocket} bitrate=4000 on-disconnect=error ! video/x-${codec},stream-format=byte-stream ! ` +
      `filesink location=${file}`,
  );
  expect(report).toMatchObject({ end: "eos", errors: [] });
  return file;
}

describe("the element with VideoToolbox", () => {
  it.each(["h264", "h265"] as const)(`has ${FRAMES} frames of %s show what was drawn`, async (codec) => {
    const file = await encode("", codec);
    await expectPattern(file, FRAMES, SIZE);
    expect(await counters()).toMatchObject({ frames_failed: 0, untagged_frames: 0, live_objects: 0 });
  });

  // Each session submits a frame to warm up.
  it("loses no frame when sessions are lost, hang, malfunction and find no encoder", async () => {
    const file = await encode(
      "fail:50:-12903:async;fail:100:-12912:sync;late:150:-17691;fail:200:-12915:async;silent:250;refuse:2:-12915",
    );
    const { frames, keyFrames } = inspectStream(file);
    expect(frames).toBe(FRAMES);
    expect(keyFrames).toBeGreaterThanOrEqual(1 + 5);
    await expectPattern(file, FRAMES, SIZE);
    const counted = await counters();
    expect(counted["sessions_created"]).toBeGreaterThanOrEqual(1 + 5);
    expect(counted).toMatchObject({ sessions_refused: 1, live_objects: 0 });
  });

  it("continues when VideoToolbox drops frames", async () => {
    const file = await encode("drop:%50");
    const { frames_dropped: dropped = 0, live_objects: left } = await counters();
    expect(dropped).toBeGreaterThan(4);
    expect(inspectStream(file).frames).toBe(FRAMES - dropped);
    expect(left).toBe(0);
  });

  it.each(
    listTests(PROGRAM).filter((name) => !name.includes("/cycles/")),
  )("passes %s with resources", async (name) => {
    const { resources } = await start("");
    await passRelayTest(name, { ...resources, VSOCKENC_TEST_OUTPUT: folder });
    expect(await counters()).toMatchObject({ frames_failed: 0, live_objects: 0 });
  });
});
