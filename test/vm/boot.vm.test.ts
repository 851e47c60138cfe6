/** The harness with a real guest, and QEMU's own GPU. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { temporaryFolder } from "../support/folder.ts";
import { until } from "../support/until.ts";
import { GuestPanicError, GuestRebootError, VmTimeoutError } from "./errors.ts";
import { useVm } from "./use-vm.ts";

const directory = temporaryFolder();
writeFileSync(join(directory, "given"), "from the host");
const folders = { inDir: directory, outDir: directory };
const guest = useVm({ gpu: "stock", relay: false, payload: false, ...folders, log: console.log });

it("forwards output and exit status", async () => {
  const seen: string[] = [];
  const result = await guest.vm.run("echo out; echo err >&2; exit 7", {
    onOutput: (stream, data) => void seen.push(`${stream}:${data}`),
  });
  expect(result).toEqual({ status: 7, stdout: "out\n", stderr: "err\n", truncated: false });
  expect(seen.sort()).toEqual(["stderr:err\n", "stdout:out\n"]);
  expect((await guest.vm.run("kill -9 $$")).status).toBe(137);
});

it("has a GPU, named ports and GStreamer", async () => {
  const result = await guest.vm.run(
    "test -c /dev/dri/renderD128 && test -c /dev/virtio-ports/org.vsockenc.0 && modetest -M virtio_gpu -c | grep connected" +
      " && gst-launch-1.0 -q videotestsrc num-buffers=5 ! fakesink",
  );
  expect(result.stderr).toBe("");
  expect(result.status).toBe(0);
});

it("shares /in read-only and /out", async () => {
  const result = await guest.vm.run(
    "cat /in/given && ! touch /in/x 2>/dev/null && head -c 3000000 /dev/zero >/out/made",
  );
  expect(result).toMatchObject({ status: 0, stdout: "from the host" });
  expect(readFileSync(join(directory, "made")).length).toBe(3_000_000);
});

it("delivers output while the command runs, complete and in order", async () => {
  const result = await guest.vm.run("seq 1 200000");
  expect(result.stdout.length).toBe(1_288_895);
  expect(result.stdout.endsWith("199999\n200000\n")).toBe(true);
  const job = guest.vm.start("echo first; exec sleep 60");
  await until(() => job.stdout === "first\n", "the first line");
  job.signal("TERM");
  expect((await job.done).status).toBe(143);
});

it("runs several commands at once", async () => {
  const waiting = guest.vm.start("until test -e /tmp/go; do sleep 0.05; done; echo went");
  const other = await guest.vm.run("touch /tmp/go; echo other");
  expect(other.stdout).toBe("other\n");
  expect((await waiting.done).stdout).toBe("went\n");
  const many = await Promise.all(Array.from({ length: 10 }, (_, index) => guest.vm.run(`echo ${index}`)));
  expect(many.map((result) => result.stdout.trim())).toEqual(many.map((_, index) => String(index)));
});

it("kills a command and its children after the time-out", async () => {
  const late = guest.vm.run("echo before; sleep 1000 & sleep 1001", { timeoutMs: 700 });
  await expect(late).rejects.toThrow(/took longer than 0.7 s[\s\S]*before/);
  await expect(late).rejects.toBeInstanceOf(VmTimeoutError);
  expect((await guest.vm.run("pgrep -x sleep")).stdout).toBe("");
});

it("survives the guest's reboot", async () => {
  const before = (await guest.vm.run("cat /proc/sys/kernel/random/boot_id; touch /tmp/old")).stdout;
  const lost = guest.vm.run("sleep 1000");
  lost.catch(() => {});
  await guest.vm.reset();
  await expect(lost).rejects.toBeInstanceOf(GuestRebootError);
  const after = await guest.vm.run("cat /proc/sys/kernel/random/boot_id; test ! -e /tmp/old");
  expect(after.status).toBe(0);
  expect(after.stdout).not.toBe(before);
  // A reboot that the guest itself begins.
  const reset = guest.vm.qmp.waitForEvent("RESET");
  guest.vm.start("busybox reboot -f").done.catch(() => {});
  await reset;
  await guest.vm.ready();
  expect((await guest.vm.run("true")).status).toBe(0);
});

it("stops and continues", async () => {
  await guest.vm.qmp.execute("stop");
  expect(await guest.vm.qmp.execute("query-status")).toMatchObject({ status: "paused" });
  const paused = guest.vm.run("echo back");
  await guest.vm.qmp.execute("cont");
  expect((await paused).stdout).toBe("back\n");
});

it("reports a kernel panic with the console's output", async () => {
  const last = guest.vm.run("echo c >/proc/sysrq-trigger");
  await expect(last).rejects.toBeInstanceOf(GuestPanicError);
  await expect(last).rejects.toThrow(/Kernel panic - not syncing/);
});
