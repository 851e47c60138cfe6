/** The harness with a real guest, and QEMU's own GPU. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { until } from "../support/until.ts";
import { GuestPanicError, GuestRebootError, VmTimeoutError } from "./errors.ts";
import { Vm } from "./vm.ts";

let directory: string;
let vm: Vm;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "vsockenc-share-"));
  writeFileSync(join(directory, "given"), "from the host");
  const folders = { inDir: directory, outDir: directory };
  vm = await Vm.boot({ gpu: "stock", relay: false, payload: false, ...folders, log: console.log });
});

afterAll(async () => {
  await vm?.shutdown();
  rmSync(directory, { recursive: true, force: true });
});

it("forwards output and exit status", async () => {
  const seen: string[] = [];
  const result = await vm.run("echo out; echo err >&2; exit 7", {
    onOutput: (stream, data) => void seen.push(`${stream}:${data}`),
  });
  expect(result).toEqual({ status: 7, stdout: "out\n", stderr: "err\n", truncated: false });
  expect(seen.sort()).toEqual(["stderr:err\n", "stdout:out\n"]);
  expect((await vm.run("kill -9 $$")).status).toBe(137);
});

it("has a GPU, named ports and GStreamer", async () => {
  const result = await vm.run(
    "test -c /dev/dri/renderD128 && test -c /dev/virtio-ports/org.vsockenc.0 && modetest -M virtio_gpu -c | grep connected" +
      " && gst-launch-1.0 -q videotestsrc num-buffers=5 ! fakesink",
  );
  expect(result.stderr).toBe("");
  expect(result.status).toBe(0);
});

it("shares /in read-only and /out", async () => {
  const result = await vm.run(
    "cat /in/given && ! touch /in/x 2>/dev/null && head -c 3000000 /dev/zero >/out/made",
  );
  expect(result).toMatchObject({ status: 0, stdout: "from the host" });
  expect(readFileSync(join(directory, "made")).length).toBe(3_000_000);
});

it("delivers output while the command runs, complete and in order", async () => {
  const result = await vm.run("seq 1 200000");
  expect(result.stdout.length).toBe(1_288_895);
  expect(result.stdout.endsWith("199999\n200000\n")).toBe(true);
  let early = "";
  const job = vm.start("echo first; exec sleep 60", {
    onOutput: (_, data) => {
      early += data.toString();
    },
  });
  await until(() => early === "first\n", "the first line");
  job.signal("TERM");
  expect((await job.done).status).toBe(143);
});

it("runs several commands at once", async () => {
  const waiting = vm.start("until test -e /tmp/go; do sleep 0.05; done; echo went");
  const other = await vm.run("touch /tmp/go; echo other");
  expect(other.stdout).toBe("other\n");
  expect((await waiting.done).stdout).toBe("went\n");
  const many = await Promise.all(Array.from({ length: 10 }, (_, index) => vm.run(`echo ${index}`)));
  expect(many.map((result) => result.stdout.trim())).toEqual(many.map((_, index) => String(index)));
});

it("kills a command and its children after the time-out", async () => {
  const late = vm.run("echo before; sleep 1000 & sleep 1001", { timeoutMs: 700 });
  await expect(late).rejects.toThrow(/took longer than 0.7 s[\s\S]*before/);
  await expect(late).rejects.toBeInstanceOf(VmTimeoutError);
  expect((await vm.run("pgrep -x sleep")).stdout).toBe("");
});

it("survives the guest's reboot", async () => {
  const before = (await vm.run("cat /proc/sys/kernel/random/boot_id; touch /tmp/old")).stdout;
  const lost = vm.run("sleep 1000");
  lost.catch(() => {});
  await vm.reset();
  await expect(lost).rejects.toBeInstanceOf(GuestRebootError);
  const after = await vm.run("cat /proc/sys/kernel/random/boot_id; test ! -e /tmp/old");
  expect(after.status).toBe(0);
  expect(after.stdout).not.toBe(before);
  // A reboot that the guest itself begins.
  const reset = vm.qmp.waitForEvent("RESET");
  vm.start("busybox reboot -f").done.catch(() => {});
  await reset;
  await vm.ready();
  expect((await vm.run("true")).status).toBe(0);
});

it("stops and continues", async () => {
  await vm.qmp.execute("stop");
  expect(await vm.qmp.execute("query-status")).toMatchObject({ status: "paused" });
  const paused = vm.run("echo back");
  await vm.qmp.execute("cont");
  expect((await paused).stdout).toBe("back\n");
});

it("reports a kernel panic with the console's output", async () => {
  const last = vm.run("echo c >/proc/sysrq-trigger");
  await expect(last).rejects.toBeInstanceOf(GuestPanicError);
  await expect(last).rejects.toThrow(/Kernel panic - not syncing/);
});
