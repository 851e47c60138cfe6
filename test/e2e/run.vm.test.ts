/** `vsockenc run` before the command line of a real guest that says nothing of vsockenc. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";
import { countersOf, dmabufsrc, upTo } from "../support/counter.ts";
import { temporaryFolder } from "../support/folder.ts";
import { until } from "../support/until.ts";
import { TestViewer } from "../unit/viewer/support/test-viewer.ts";
import { Vm } from "../vm/vm.ts";

const folder = temporaryFolder();
const SIZE = { width: 640, height: 480 };

it("gives the guest a GPU, a port and viewers, and leaves nothing when the guest shuts down", async () => {
  await Vm.use({ gpu: "run", outDir: folder }, async (vm) => {
    const address = await until(() => /watch the VM at (\S+)/.exec(vm.qemu.log)?.[1], "the viewer's address");
    const runtime = dirname(/"path":"([^"]*port0)"/.exec(vm.qemu.log)?.[1] ?? "");
    expect(existsSync(join(runtime, "export"))).toBe(true);
    const page = await fetch(address);
    expect([page.status, await page.text()]).toEqual([200, expect.stringContaining("<!doctype html>")]);
    const viewer = await TestViewer.connect(address);
    viewer.watch("vm/head0");
    await until(() => viewer.units.some(({ key }) => key), "the VM's screen");
    viewer.socket.terminate();

    const pipeline = "vsockenc bitrate=4000 ! h264parse ! filesink location=/out/run.h264";
    await vm.succeed(dmabufsrc(SIZE, 30, pipeline, "--stats-json /out/run.json"));
    expect(countersOf(join(folder, "run.h264"), SIZE)).toEqual(upTo(30));
    expect(JSON.parse(readFileSync(join(folder, "run.json"), "utf8"))).toMatchObject({
      tier: "resource",
      frames: 30,
    });

    const ended = vm.qemu.ended();
    void vm.run("poweroff -f").catch(() => undefined);
    expect(await ended).toEqual({ status: 0, signal: null });
    expect(existsSync(runtime)).toBe(false);
    await expect(fetch(address)).rejects.toThrow();
  });
});
