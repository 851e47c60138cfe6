/**
 * The element's C tests in a real guest, on its newer GStreamer: with hosts of their own, and with the real relay, port
 * and virtio-gpu.
 *
 * After an intended change of the description: npx vitest run --project vm test/e2e/element.vm.test.ts -u
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { goldenFile, withoutPaths } from "../element/support/inspect.ts";
import { inspectStream } from "../support/ffmpeg.ts";
import type { RunResult } from "../vm/guest-agent.ts";
import { Vm } from "../vm/vm.ts";

const RELAY_TEST = "element-relay-test";

describe("the element in a guest", () => {
  const folder = mkdtempSync(join(tmpdir(), "vsockenc-element-"));
  let vm: Vm;
  beforeAll(async () => {
    vm = await Vm.boot({ outDir: folder });
    // A system made for tests has no names; /link/tcp-name looks one up.
    await vm.run("echo 127.0.0.1 localhost >>/etc/hosts");
  });
  afterAll(async () => {
    await vm?.shutdown();
    rmSync(folder, { recursive: true, force: true });
  });

  const run = (command: string): Promise<RunResult> => vm.run(command);

  it("passes every test that has a host of its own", async () => {
    const { stdout: listed } = await run("cd /opt/vsockenc/bin && ls *-test");
    const programs = listed
      .trim()
      .split("\n")
      .filter((name) => name !== RELAY_TEST);
    expect(programs).toContain("element-test");
    const failures: string[] = [];
    for (const program of programs) {
      const { status, stdout, stderr } = await run(`${program} 2>&1`);
      if (status !== 0) failures.push(`${program}: ${status}\n${(stdout + stderr).slice(-2000)}`);
    }
    expect(failures).toEqual([]);
  });

  it("passes the tests with the real relay, its frames read from the virtio-gpu", async () => {
    const { status, stdout, stderr } = await run(
      `VSOCKENC_TEST_OUTPUT=/out VSOCKENC_TEST_CYCLES=20 ${RELAY_TEST} 2>&1`,
    );
    expect(status, stdout + stderr).toBe(0);
    for (const name of ["encode.h264", "encode.h265", "system-memory.h264", "dmabuf.h264"]) {
      expect(inspectStream(join(folder, name)).frames, name).toBe(10);
    }
  });

  it("leaves no object behind, as the leaks tracer sees it", async () => {
    const { status, stdout } = await run(
      "GST_TRACERS=leaks GST_DEBUG=GST_TRACER:7 GST_DEBUG_NO_COLOR=1 run-pipeline " +
        "'videotestsrc num-buffers=10 ! video/x-raw,format=NV12 ! vsockenc ! h264parse ! fakesink' 2>&1",
    );
    expect(status, stdout).toBe(0);
    expect(stdout).toContain("object-alive");
    expect(stdout).not.toMatch(/TRACE .*: object-alive,/);
  });

  it("is described as in the file for this GStreamer", async () => {
    const { stdout: version } = await run("gst-inspect-1.0 --version");
    const { status, stdout, stderr } = await run("gst-inspect-1.0 --no-colors vsockenc");
    expect(status, stderr).toBe(0);
    await expect(withoutPaths(stdout)).toMatchFileSnapshot(goldenFile(version));
  });
});
