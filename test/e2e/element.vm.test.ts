/**
 * The element's C tests in a real guest with its newer GStreamer: with fake hosts, and with the real relay, port and
 * virtio-gpu.
 *
 * After an intended change of the description: npx vitest run --project vm test/e2e/element.vm.test.ts -u
 */
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { goldenFile, withoutPaths } from "../element/support/programs.ts";
import { inspectStream } from "../support/ffmpeg.ts";
import { temporaryFolder } from "../support/folder.ts";
import { useVm } from "../vm/use-vm.ts";

const RELAY_TEST = "element-relay-test";

describe("the element in a guest", () => {
  const folder = temporaryFolder();
  const guest = useVm({ outDir: folder });
  // /link/tcp-name looks up a name, and the guest has none.
  beforeAll(() => guest.vm.succeed("echo 127.0.0.1 localhost >>/etc/hosts"));

  it("passes every test with a fake host", async () => {
    const listed = await guest.vm.succeed("cd /opt/vsockenc/bin && ls *-test");
    const programs = (listed.match(/.+/g) ?? []).filter((name) => name !== RELAY_TEST);
    expect(programs).toContain("element-test");
    const failures: string[] = [];
    for (const program of programs) {
      const { status, stdout, stderr } = await guest.vm.run(`${program} 2>&1`);
      if (status !== 0) failures.push(`${program}: ${status}\n${(stdout + stderr).slice(-2000)}`);
    }
    expect(failures).toEqual([]);
  });

  it("passes the tests with the real relay, which reads frames from the virtio-gpu", async () => {
    await guest.vm.succeed(`VSOCKENC_TEST_OUTPUT=/out VSOCKENC_TEST_CYCLES=20 ${RELAY_TEST} 2>&1`);
    for (const name of ["encode.h264", "encode.h265", "system-memory.h264", "dmabuf.h264"]) {
      expect(inspectStream(join(folder, name)).frames, name).toBe(10);
    }
  });

  it("leaks no object, according to the leaks tracer", async () => {
    const stdout = await guest.vm.succeed(
      "GST_TRACERS=leaks GST_DEBUG=GST_TRACER:7 GST_DEBUG_NO_COLOR=1 run-pipeline " +
        "'videotestsrc num-buffers=10 ! video/x-raw,format=NV12 ! vsockenc ! h264parse ! fakesink' 2>&1",
    );
    expect(stdout).toContain("object-alive");
    expect(stdout).not.toMatch(/TRACE .*: object-alive,/);
  });

  it("has the description in the file for this GStreamer version", async () => {
    const version = await guest.vm.succeed("gst-inspect-1.0 --version");
    const description = await guest.vm.succeed("gst-inspect-1.0 --no-colors vsockenc");
    await expect(withoutPaths(description)).toMatchFileSnapshot(goldenFile(version));
  });
});
