/**
 * The VideoToolbox back end's own sources, compiled unchanged against test/videotoolbox-shim and run on Linux. That
 * shows control flow, ownership, Annex B and the way out of every error; it shows nothing about latency or about what a
 * Mac accepts.
 */
import { spawn } from "node:child_process";
import { describe, expect, it } from "vitest";
import { NATIVE_TESTS, SELF_TEST } from "./support/sanitized.ts";

/** What it prints. @throws Error with that when it fails */
async function run(command: string, ...options: string[]): Promise<string> {
  const child = spawn(command, options, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (data: Buffer) => {
      output += data.toString();
    });
  }
  const status = await new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  if (status !== 0) throw new Error(`${command} ${options.join(" ")} ended with ${status}:\n${output}`);
  return output;
}

// Side by side, because much of it is waiting.
describe.concurrent("the VideoToolbox back end", () => {
  it("does what it should, without a bad access, undefined behaviour or a leak", async () => {
    expect((await run(NATIVE_TESTS.address)).match(/^ok /gm)?.length).toBeGreaterThan(80);
  });

  it("has no data race", async () => {
    // Formats, surfaces and the shapes of samples are one thread's business.
    const passed = (await run(NATIVE_TESTS.thread, "streams:", "failures:", "sessions:")).match(/^ok /gm);
    expect(passed?.length).toBeGreaterThan(50);
  });

  it("has a stand-in that behaves as it is told to", async () => {
    await run("ctest", "--test-dir", SELF_TEST, "--output-on-failure");
  });
});
