/** test/guest/element-relay-test: GstHarness around the element, and a real relay at the other end. */
import { spawn } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { inspectStream, psnr } from "../support/ffmpeg.ts";
import { buildElement, listTests, programPath, run } from "./support/programs.ts";
import { shareRelay } from "./support/relay.ts";

const PROGRAM = "element-relay-test";
/** What the program draws. */
const SIZE = { width: 640, height: 480 };
const FRAMES = 10;
/** dB. What 8 Mbit/s leave of the pattern; a wrong stride, matrix or buffer is below 20. */
const LEAST_QUALITY = 30;

buildElement(PROGRAM, "pattern");
const tests = listTests(PROGRAM);
const cycles = tests.filter((name) => name.includes("/cycles/"));

const shared = shareRelay();

/** Runs one of the program's tests; skipped ones count as passed. */
async function runTest(name: string, environment: Readonly<Record<string, string>>): Promise<void> {
  const { stdout, stderr } = await run(programPath(PROGRAM), ["--tap", "-p", name], environment);
  // A failed assertion ends the program, so there is an "ok" or there is none.
  expect(`${stdout}\n${stderr}`).toMatch(new RegExp(`^ok \\d+ ${name}( |$)`, "m"));
}

/** PSNR of what a test left in the folder. */
async function quality(file: string): Promise<number> {
  const size = ["--width", String(SIZE.width), "--height", String(SIZE.height), "--format", "BGRx"];
  const reference = spawn(programPath("pattern"), ["--frames", String(FRAMES), ...size]);
  return (await psnr(file, reference.stdout, SIZE, "bgr0")).minimum;
}

describe.each(["resources", "inline pixels"] as const)("the element with %s", (kind) => {
  const environment = (): Record<string, string> => ({
    VSOCKENC_TEST_OUTPUT: shared.folder,
    ...(kind === "resources"
      ? {
          VSOCKENC_RELAY_SOCKET: shared.relay.resourceSocket,
          VSOCKENC_RELAY_MEMORY: shared.relay.memorySocket,
        }
      : { VSOCKENC_RELAY_SOCKET: shared.relay.inlineSocket }),
  });

  it.each(tests.filter((name) => !cycles.includes(name)))("%s", async (name) => {
    await runTest(name, environment());
  });

  it.each([
    "encode.h264",
    "encode.h265",
    "system-memory.h264",
    ...(kind === "resources" ? ["dmabuf.h264"] : []),
  ])("has %s show what was drawn", async (name) => {
    const file = join(shared.folder, name);
    expect(inspectStream(file).frames).toBe(FRAMES);
    expect(await quality(file)).toBeGreaterThan(LEAST_QUALITY);
    rmSync(file);
  });

  it("has the stream whose format changes decode to its end", () => {
    const file = join(shared.folder, "format-change.h264");
    expect(inspectStream(file)).toEqual({ frames: 2 * FRAMES, keyFrames: 2 });
    expect(readFileSync(file).length).toBeGreaterThan(0);
    rmSync(file);
  });

  // The few cycles before are for what the relay makes once, such as the connection to its exporter.
  it.each(cycles)("%s, with nothing left behind in the relay", async (name) => {
    await runTest(name, { ...environment(), VSOCKENC_TEST_CYCLES: "0" });
    await shared.relay.idle();
    const before = shared.relay.descriptors;
    await runTest(name, environment());
    await shared.relay.idle();
    expect(shared.relay.descriptors).toBeLessThanOrEqual(before);
  });
});
