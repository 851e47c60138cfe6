/** GStreamer's leaks tracer: objects that are alive after shutdown. */
import { describe, expect, it } from "vitest";
import { buildElement, ctestPrograms, type Environment, programPath, run } from "./support/programs.ts";
import { shareRelay } from "./support/relay.ts";

buildElement("all");
const shared = shareRelay();

/** Runs a program to its end; returns the objects that it leaked, as the tracer prints them. */
async function leftAlive(program: string, args: readonly string[], environment: Environment = {}) {
  const tracer = { GST_TRACERS: "leaks", GST_DEBUG: "GST_TRACER:7", GST_DEBUG_NO_COLOR: "1" };
  const { status, stdout, stderr } = await run(programPath(program), args, { ...environment, ...tracer });
  expect(status, `${stdout}\n${stderr.slice(-4000)}`).toBe(0);
  // The tracer always prints the format of its records, which proves that it is active.
  expect(stderr).toContain("new format string: object-alive,");
  return stderr.split("\n").filter((line) => /TRACE .*: object-alive,/.test(line));
}

describe("the leaks tracer", () => {
  const pipeline = (): string =>
    "videotestsrc num-buffers=10 ! video/x-raw,format=NV12 ! " +
    `vsockenc name=encoder socket-path=${shared.relay.inlineSocket} ! h264parse name=parser ! fakesink`;

  it("finds nothing after a pipeline", async () => {
    expect(await leftAlive("run-pipeline", [pipeline()])).toEqual([]);
  });

  it.each(["encoder", "parser"])("finds the %s when it is leaked", async (element) => {
    const left = await leftAlive("run-pipeline", ["--leak", element, pipeline()]);
    expect(left.join("\n")).toContain(element);
  });

  it("finds nothing after harnesses with a relay", async () => {
    const environment = { ...shared.relay.resources, VSOCKENC_TEST_CYCLES: "0" };
    expect(await leftAlive("element-relay-test", [], environment)).toEqual([]);
  });

  // Concurrently, because most of them mostly wait.
  it.concurrent.each(ctestPrograms())("finds nothing after %s", async (program) => {
    expect(await leftAlive(program, [])).toEqual([]);
  });
});
