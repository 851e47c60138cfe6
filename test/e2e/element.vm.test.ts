/**
 * The element's C tests in a real guest with its newer GStreamer: with fake hosts, and with the real relay, port and
 * virtio-gpu.
 *
 * After an intended change of the description: npx vitest run --project vm test/e2e/element.vm.test.ts -u
 */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { goldenFile, withoutPaths } from "../element/support/inspect.ts";
import { inspectStream } from "../support/ffmpeg.ts";
import { temporaryFolder } from "../support/folder.ts";
import { Vm } from "../vm/vm.ts";

const RELAY_TEST = "element-relay-test";

describe("the element in a guest", () => {
  const folder = temporaryFolder();
  let vm: Vm;
  beforeAll(async () => {
    vm = await Vm.boot({ outDir: folder });
    // /link/tcp-name looks up a name, and the guest has none.
    await vm.run("echo 127.0.0.1 localhost >>/etc/hosts");
  });
  afterAll(() => vm?.shutdown());

  it("passes every test with a fake host", async () => {
    const { stdout: listed } = await vm.run("cd /opt/vsockenc/bin && ls *-test");
    const programs = listed
      .trim()
      .split("\n")
      .filter((name) => name !== RELAY_TEST);
    expect(programs).toContain("element-test");
    const failures: string[] = [];
    for (const program of programs) {
      const { status, stdout, stderr } = await vm.run(`${program} 2>&1`);
      if (status !== 0) failures.push(`${program}: ${status}\n${(stdout + stderr).slice(-2000)}`);
    }
    expect(failures).toEqual([]);
  });

  it("passes the tests with the real relay, which reads frames from the virtio-gpu", async () => {
    const { status, stdout, stderr } = await vm.run(
      `VSOCKENC_TEST_OUTPUT=/out VSOCKENC_TEST_CYCLES=20 ${RELAY_TEST} 2>&1`,
    );
    expect(status, stdout + stderr).toBe(0);
    for (const name of ["encode.h264", "encode.h265", "system-memory.h264", "dmabuf.h264"]) {
      expect(inspectStream(join(folder, name)).frames, name).toBe(10);
    }
  });

  it("leaks no object, according to the leaks tracer", async () => {
    const { status, stdout } = await vm.run(
      "GST_TRACERS=leaks GST_DEBUG=GST_TRACER:7 GST_DEBUG_NO_COLOR=1 run-pipeline " +
        "'videotestsrc num-buffers=10 ! video/x-raw,format=NV12 ! vsockenc ! h264parse ! fakesink' 2>&1",
    );
    expect(status, stdout).toBe(0);
    expect(stdout).toContain("object-alive");
    expect(stdout).not.toMatch(/TRACE .*: object-alive,/);
  });

  it("has the description in the file for this GStreamer version", async () => {
    const { stdout: version } = await vm.run("gst-inspect-1.0 --version");
    const { status, stdout, stderr } = await vm.run("gst-inspect-1.0 --no-colors vsockenc");
    expect(status, stderr).toBe(0);
    await expect(withoutPaths(stdout)).toMatchFileSnapshot(goldenFile(version));
  });
});
