/**
 * The VideoToolbox back end's own sources, compiled unchanged against test/videotoolbox-shim and run on Linux. That shows
 * control flow, ownership, Annex B and recovery from every error; it shows nothing about latency or about what a Mac
 * accepts.
 */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { NATIVE_TESTS } from "./support/sanitized.ts";

/** The number of cases that passed. @throws Error with the output of a case that failed */
async function passed(program: string, ...sets: string[]): Promise<number> {
  const { stdout } = await promisify(execFile)(program, sets);
  return stdout.match(/^ok /gm)?.length ?? 0;
}

// In parallel, because they mostly wait.
describe.concurrent("the VideoToolbox back end", () => {
  it("has no bad access, undefined behaviour or leak, and neither has its stand-in", async () => {
    expect(await passed(NATIVE_TESTS.address)).toBeGreaterThan(150);
  });

  it("has no data race", async () => {
    // Formats, surfaces and the shapes of samples concern a single thread.
    expect(await passed(NATIVE_TESTS.thread, "streams:", "failures:", "sessions:")).toBeGreaterThan(50);
  });
});
