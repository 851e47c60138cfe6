/** The harness with our own GPU process and relay beside the guest, and the counting proxy on the port. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { ProcessEndedError } from "./errors.ts";
import { Vm } from "./vm.ts";

const TEST_MS = 120_000;
let vm: Vm;

beforeAll(async () => {
  const log = (line: string): void => console.log(line);
  vm = await Vm.boot({ gpu: "vsockenc", heads: 2, mode: "1280x720", countPort: true, log });
});

afterAll(async () => {
  await vm?.shutdown();
});

it("gives the guest our GPU, with its outputs and size", { timeout: TEST_MS }, async () => {
  const { stdout, status } = await vm.run("modetest -M virtio_gpu -c; dmesg | grep 'number of scanouts'");
  expect(status).toBe(0);
  expect(stdout).toMatch(/#0 1280x720 .*preferred/);
  expect(stdout).toContain("number of scanouts: 2");
});

it("has the guest's own software on its paths", { timeout: TEST_MS }, async () => {
  const { status, stderr } = await vm.run("gst-inspect-1.0 vsockenc >/dev/null");
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
});

it("carries and counts the port's bytes, and mirrors the relay's death", { timeout: TEST_MS }, async () => {
  // The relay speaks first when it connects; what the guest reads is what was counted.
  await expect.poll(() => vm.portProxy?.counts().hostToGuest, { timeout: 20_000 }).toBeGreaterThan(0);
  const { stdout } = await vm.run("timeout 5 head -c 4 <>/dev/virtio-ports/org.vsockenc.0 | wc -c");
  expect(stdout.trim()).toBe("4");
  const connections = vm.portProxy?.connections ?? 0;
  vm.relay?.kill("SIGKILL");
  await vm.relay?.ended();
  expect(vm.relay?.pid).toBeUndefined();
  await vm.relay?.restart();
  await expect.poll(() => vm.portProxy?.connections, { timeout: 20_000 }).toBeGreaterThan(connections);
});

it("keeps GPU and relay over a reboot", { timeout: TEST_MS }, async () => {
  await vm.reset();
  expect((await vm.run("modetest -M virtio_gpu -c | grep -c 1280x720")).stdout.trim()).not.toBe("0");
});

it("fails what runs when the GPU process dies by itself", { timeout: TEST_MS }, async () => {
  const running = vm.run("sleep 1000");
  running.catch(() => {});
  process.kill(vm.gpu?.pid ?? 0, "SIGABRT");
  await expect(running).rejects.toBeInstanceOf(ProcessEndedError);
  await expect(running).rejects.toThrow("vsockenc gpu was ended by SIGABRT");
});
