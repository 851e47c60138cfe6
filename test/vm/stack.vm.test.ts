/** The harness with our own GPU process and relay beside the guest, and the counting proxy on the port. */
import { expect, it } from "vitest";
import { until } from "../support/until.ts";
import { ProcessEndedError } from "./errors.ts";
import { useVm } from "./use-vm.ts";

const guest = useVm({ gpu: "vsockenc", heads: 2, mode: "1280x720", countPort: true, log: console.log });

it("gives the guest our GPU, with its outputs and size", async () => {
  const { stdout, status } = await guest.vm.run(
    "modetest -M virtio_gpu -c; dmesg | grep 'number of scanouts'",
  );
  expect(status).toBe(0);
  expect(stdout).toMatch(/#0 1280x720 .*preferred/);
  expect(stdout).toContain("number of scanouts: 2");
});

it("has our software on the guest's paths", async () => {
  const { status, stderr } = await guest.vm.run("gst-inspect-1.0 vsockenc >/dev/null");
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
});

it("forwards and counts the port's bytes, and reconnects after the relay was killed", async () => {
  // The relay sends first when it connects.
  await until(() => (guest.vm.portProxy?.counts().hostToGuest ?? 0) > 0, "the relay's first bytes");
  const { stdout } = await guest.vm.run("head -c 4 <>/dev/virtio-ports/org.vsockenc.0 | wc -c");
  expect(stdout.trim()).toBe("4");
  const connections = guest.vm.portProxy?.connections ?? 0;
  guest.vm.relay?.kill("SIGKILL");
  await guest.vm.relay?.ended();
  expect(guest.vm.relay?.pid).toBeUndefined();
  await guest.vm.relay?.restart();
  await until(() => (guest.vm.portProxy?.connections ?? 0) > connections, "the new relay's connection");
});

it("keeps GPU and relay across a reboot", async () => {
  await guest.vm.reset();
  expect((await guest.vm.run("modetest -M virtio_gpu -c | grep -c 1280x720")).stdout.trim()).not.toBe("0");
});

it("rejects running commands when the GPU process dies", async () => {
  const running = guest.vm.run("sleep 1000");
  running.catch(() => {});
  process.kill(guest.vm.gpu?.pid ?? 0, "SIGABRT");
  await expect(running).rejects.toBeInstanceOf(ProcessEndedError);
  await expect(running).rejects.toThrow("vsockenc gpu was ended by SIGABRT");
});
