/**
 * The element and a relay whose encoder is the VideoToolbox back end, on Linux: its sources are compiled unchanged
 * against test/videotoolbox-shim, under AddressSanitizer and UndefinedBehaviorSanitizer. It shows that the two go together
 * through all that may happen; it shows nothing of a Mac.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { inspectStream, psnr } from "../support/ffmpeg.ts";
import { SANITIZED_ADDONS, SANITIZER_RUNTIME } from "../unit/videotoolbox/support/sanitized.ts";
import { buildElement, listTests, programPath, run, runPipeline } from "./support/programs.ts";
import { TestRelay } from "./support/relay.ts";

const PROGRAM = "element-relay-test";
const SIZE = { width: 320, height: 240 };
const FRAMES = 300;
/** dB; a wrong stride, matrix or frame is below 20. */
const LEAST_QUALITY = 30;

buildElement(PROGRAM, "pattern", "run-pipeline");

let folder: string;
let relay: TestRelay | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "vsockenc-videotoolbox-"));
  relay = undefined;
});
afterEach(async () => {
  await relay?.stop();
  rmSync(folder, { recursive: true });
  // Of the sanitizers and of the stand-in.
  expect(relay?.log ?? "").not.toMatch(/ERROR: \w+Sanitizer|runtime error: |vt_shim: /);
});

async function start(script: string): Promise<TestRelay> {
  relay = await TestRelay.start(folder, {
    encoders: ["videotoolbox"],
    environment: {
      ...SANITIZER_RUNTIME,
      VSOCKENC_ADDONS: SANITIZED_ADDONS,
      VT_SHIM_SCRIPT: script,
      VT_SHIM_REPORT: join(folder, "report.json"),
    },
  });
  return relay;
}

/** Ends the relay; what the shim has counted by then. */
async function counters(): Promise<Readonly<Record<string, number>>> {
  await relay?.stop();
  return JSON.parse(readFileSync(join(folder, "report.json"), "utf8")) as Record<string, number>;
}

const pattern = (...args: readonly string[]): string[] => [
  ...["--width", String(SIZE.width), "--height", String(SIZE.height), "--format", "BGRx"],
  ...args,
];

/** Sends the frames through the element into a file. */
async function encode(socket: string, file: string, codec: "h264" | "h265"): Promise<void> {
  const raw = join(folder, "frames.raw");
  const drawing = [
    "-c",
    `"$0" "$@" > ${raw}`,
    programPath("pattern"),
    ...pattern("--frames", String(FRAMES)),
  ];
  expect((await run("sh", drawing)).status).toBe(0);
  const report = await runPipeline(
    `filesrc location=${raw} ! rawvideoparse format=bgrx width=${SIZE.width} height=${SIZE.height} framerate=30/1 ! ` +
      `vsockenc name=encoder socket-path=${socket} bitrate=4000 on-disconnect=error ! video/x-${codec},stream-format=byte-stream ! ` +
      `filesink location=${file}`,
  );
  expect(report).toMatchObject({ end: "eos", errors: [] });
}

describe("the element with VideoToolbox", () => {
  it.each(["h264", "h265"] as const)(`has ${FRAMES} frames of %s show what was drawn`, async (codec) => {
    const { inlineSocket } = await start("");
    const file = join(folder, `video.${codec}`);
    await encode(inlineSocket, file, codec);
    expect(inspectStream(file).frames).toBe(FRAMES);
    const reference = spawn(programPath("pattern"), pattern("--frames", String(FRAMES)));
    expect((await psnr(file, reference.stdout, SIZE, "bgr0")).minimum).toBeGreaterThan(LEAST_QUALITY);
    expect(await counters()).toMatchObject({ frames_failed: 0, untagged_frames: 0, live_objects: 0 });
  });

  // The relay's probes submit two frames, each session one of its own for warming up.
  it("loses no frame when sessions are lost, hang, malfunction and find no encoder", async () => {
    const { inlineSocket } = await start(
      "fail:50:-12903:async;fail:100:-12912:sync;late:150:-17691;fail:200:-12915:async;silent:250;refuse:4:-12915",
    );
    const file = join(folder, "video.h264");
    await encode(inlineSocket, file, "h264");
    const { frames, keyFrames } = inspectStream(file);
    expect(frames).toBe(FRAMES);
    expect(keyFrames).toBeGreaterThanOrEqual(1 + 5);
    const reference = spawn(programPath("pattern"), pattern("--frames", String(FRAMES)));
    expect((await psnr(file, reference.stdout, SIZE, "bgr0")).minimum).toBeGreaterThan(LEAST_QUALITY);
    const counted = await counters();
    expect(counted["sessions_created"]).toBeGreaterThanOrEqual(2 + 1 + 5);
    expect(counted).toMatchObject({ sessions_refused: 1, live_objects: 0 });
  });

  it("goes on when VideoToolbox drops frames", async () => {
    const { inlineSocket } = await start("drop:%50");
    const file = join(folder, "video.h264");
    await encode(inlineSocket, file, "h264");
    const { frames_dropped: dropped = 0, live_objects: left } = await counters();
    expect(dropped).toBeGreaterThan(4);
    expect(inspectStream(file).frames).toBe(FRAMES - dropped);
    expect(left).toBe(0);
  });

  it.each(
    listTests(PROGRAM).filter((name) => !name.includes("/cycles/")),
  )("passes %s with resources", async (name) => {
    const { resourceSocket, memorySocket } = await start("");
    const environment = {
      VSOCKENC_TEST_OUTPUT: folder,
      VSOCKENC_RELAY_SOCKET: resourceSocket,
      VSOCKENC_RELAY_MEMORY: memorySocket,
    };
    const { stdout, stderr } = await run(programPath(PROGRAM), ["--tap", "-p", name], environment);
    expect(`${stdout}\n${stderr}`).toMatch(new RegExp(`^ok \\d+ ${name}( |$)`, "m"));
    expect(await counters()).toMatchObject({ frames_failed: 0, live_objects: 0 });
  });
});
