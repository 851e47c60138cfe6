/** A desktop whose guest renders: weston with OpenGL, captured as a PipeWire stream and by virtgpusrc. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { countersOf } from "../support/counter.ts";
import { temporaryFolder } from "../support/folder.ts";
import { until } from "../support/until.ts";
import { useVm } from "../vm/use-vm.ts";
import { BUFFERS, decode, isDesktop, MODE, SIZE } from "./support/desktop-picture.ts";

describe("a desktop that the host's GPU renders", () => {
  const folder = temporaryFolder();
  const guest = useVm({ gpu: "gl", desktop: "pipewire", mode: MODE, outDir: folder });
  const stream = join(folder, "a.h264");

  /** Encodes `frames` frames to `stream`, each from the host's texture. */
  async function capture(source: string): Promise<void> {
    const element = "vsockenc name=encoder drop=never bitrate=20000";
    const pipeline = `${source} ! ${element} ! h264parse ! filesink location=/out/a.h264`;
    const outcome = JSON.parse(await guest.vm.succeed(`run-pipeline '${pipeline}'`));
    expect(outcome).toMatchObject({ end: "eos", errors: [], warnings: [] });
    const none = { "frames-copied": 0, "frames-inline": 0, "pixel-bytes-sent": 0 };
    expect(outcome.stats).toMatchObject({ tier: "resource-read", ...none });
  }

  const screen = (frames: number): Promise<void> => capture(`virtgpusrc num-buffers=${frames}`);

  let links = 0;
  async function pipeWire(frames: number): Promise<void> {
    const name = `capture${++links}`;
    const linked = guest.vm.succeed(`desktop link ${name}`);
    const caps = "video/x-raw(memory:DMABuf),format=DMA_DRM";
    await capture(`pipewiresrc autoconnect=false client-name=${name} num-buffers=${frames} ! ${caps}`);
    await linked;
  }

  const counters = (): (number | undefined)[] => countersOf(stream, SIZE);

  it("is drawn by virgl", async () => {
    expect(await guest.vm.succeed("cat /run/vsockenc/desktop/weston.log")).toContain("GL renderer: virgl");
  });

  it.each([
    ["virtgpusrc", screen],
    ["PipeWire", pipeWire],
  ])("is shown by %s", async (_how, take) => {
    await until(async () => {
      await take(2);
      return isDesktop(decode(stream).at(-1));
    }, "the desktop's background");
  });

  it("shows whole pictures in their order, as far as a source that does not hold them can", async () => {
    const job = guest.vm.start(`desktop counter ${MODE}`);
    await until(async () => {
      await screen(2);
      return counters().at(-1) !== undefined;
    }, "the counter");
    for (const [take, behind] of [
      [screen, BUFFERS],
      [pipeWire, 0],
    ] as const) {
      await take(30);
      const seen = counters().map((counter) => counter ?? Number.NaN);
      expect(seen).toHaveLength(30);
      expect(seen).not.toContain(Number.NaN);
      seen.forEach((counter, at) => {
        expect(counter).toBeGreaterThanOrEqual(Math.max(...seen.slice(0, at + 1)) - behind);
      });
      expect(new Set(seen).size).toBeGreaterThan(5);
    }
    job.signal("INT");
    await job.done;
  });
});
