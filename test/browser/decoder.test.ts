/** A decoder that is too slow, or is reclaimed by the browser. */
import { describe, expect, test } from "vitest";
import { until } from "../support/until.ts";
import { useRig } from "./support/rig.ts";

const { rig, play, watch } = useRig({ frames: 2000, keyInterval: 100 });

describe("the decoder", () => {
  test("drops units that it cannot keep up with, and continues from a key frame", async () => {
    const { source, viewer } = await watch();
    source.send();
    await viewer.untilPainted(1);
    const behind = async (): Promise<boolean> =>
      (await viewer.drops()).some(({ reason }) => reason === "decoder behind");
    await until(async () => {
      for (let i = 0; i < 60; i += 1) source.send();
      return behind();
    }, "frames that come faster than they are decoded");
    await until(() => source.keyFrameRequests > 0, "a key frame to be asked for");
    const before = (await viewer.paints()).length;
    await until(async () => {
      source.send();
      return (await viewer.paints()).length > before + 3;
    }, "the picture to continue");
    // No unit that depends on a dropped one was decoded: its pixels would be damaged.
    expect(await viewer.counters()).not.toContain(undefined);
  });

  test("is created again after the browser has reclaimed it", async () => {
    const source = play("desk/0", { fps: 10 });
    rig.add(source);
    const viewer = await rig.open();
    const [worker] = viewer.page.workers();
    if (worker === undefined) throw new Error("the page has no worker");
    // Browsers reclaim decoders of pages that have been in the background for long; here the test does.
    await worker.evaluate(() => {
      const scope = self as typeof self & { reclaim?: () => void };
      const Browsers = VideoDecoder;
      self.VideoDecoder = class extends Browsers {
        constructor(init: VideoDecoderInit) {
          super(init);
          scope.reclaim = () => {
            this.close();
            init.error(new DOMException("Codec reclaimed due to inactivity.", "QuotaExceededError"));
          };
        }
      };
    });
    await viewer.watch(source.id);
    await viewer.untilPainted(5);
    await worker.evaluate(() => (self as typeof self & { reclaim?: () => void }).reclaim?.());
    const before = (await viewer.paints()).length;
    await viewer.untilPainted(before + 5);
    expect(source.keyFrameRequests).toBeGreaterThan(0);
    await viewer.page.getByRole("button", { name: "Statistics" }).click();
    // Reclaiming does not switch to software.
    await expect.poll(() => viewer.page.locator("#statistics").innerText()).toMatch(/Decoder\s+WebCodecs\n/);
    expect(await viewer.notice()).toBeUndefined();
  });
});
