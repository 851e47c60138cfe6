/** Whenever there is no picture, the page says why. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { until } from "../support/until.ts";
import { PlayedSource } from "./support/played-source.ts";
import { type Recording, record } from "./support/recording.ts";
import { INSECURE_HOST, Rig } from "./support/rig.ts";

let rig: Rig;
let recording: Recording;

beforeAll(async () => {
  rig = await Rig.start();
  recording = await record({ frames: 100, keyInterval: 20 });
});
afterEach(() => rig.clear());
afterAll(() => rig.stop());

describe("without a picture the page says", () => {
  test("that there is nothing to see", async () => {
    const viewer = await rig.open();
    await viewer.untilNotice(/Nothing to see yet/);
    await viewer.shot("notice-nothing");
  });

  test("that the source is not there, and shows it when it comes", async () => {
    const viewer = await rig.open({ source: "desk/0" });
    await viewer.untilNotice(/There is no source desk\/0/);
    rig.add(new PlayedSource({ id: "desk/0", recording, fps: 10 }));
    await viewer.untilPainted(1);
    await until(async () => (await viewer.notice()) === undefined, "the notice to go");
    rig.remove("desk/0");
    await viewer.untilNotice(/There is no source desk\/0/);
  });

  test("what the source says of itself", async () => {
    const source = new PlayedSource({ id: "desk/0", recording });
    rig.add(source);
    const viewer = await rig.open({ source: "desk/0" });
    await viewer.untilNotice(/Starting.*Waiting for the first picture/);
    await until(() => source.running, "the source to be started");
    source.tell({ code: "away", text: "the relay of this VM does not run" });
    await viewer.untilNotice(/Nothing encodes.*The relay of this VM does not run\./);
    await viewer.shot("notice-away");
    source.tell({ code: "failed", text: "The encoder refused 5000 × 5000." });
    await viewer.untilNotice(/cannot be shown.*The encoder refused 5000 × 5000\./);
  });

  test("that nothing moves, beside the picture that is still true", async () => {
    const source = new PlayedSource({ id: "desk/0", recording });
    rig.add(source);
    const viewer = await rig.open({ source: "desk/0" });
    await until(() => source.running, "the source to be started");
    source.send();
    await viewer.untilPainted(1);
    source.tell({ code: "idle" });
    await expect.poll(() => viewer.page.locator("#hint").textContent()).toMatch(/Nothing moves.*still true/);
    expect(await viewer.notice()).toBeUndefined();
    await viewer.shot("idle");
  });

  test("that the browser does not decode the codec", async () => {
    const h265 = await record({ frames: 5, keyInterval: 5, codec: "h265" });
    rig.add(new PlayedSource({ id: "desk/0", recording: h265, fps: 2 }));
    const viewer = await rig.open({ source: "desk/0" });
    await viewer.untilNotice(/H\.265, which this browser does not decode/);
  });

  test("that the decoder gave up, after it tried in software", async () => {
    const source = new PlayedSource({ id: "desk/0", recording });
    rig.add(source);
    const viewer = await rig.open({ source: "desk/0" });
    await until(() => source.running, "the source to be started");
    source.send();
    await viewer.untilPainted(1);
    // Parameter sets as before, so that the server has nothing to complain of; then no slice but noise.
    const spoiled = spoilSlices(recording.units[0]?.data ?? new Uint8Array());
    await until(async () => {
      source.send(spoiled);
      return /refuses the stream/.test((await viewer.notice())?.text ?? "");
    }, "the sentence");
    expect(source.keyFrameRequests).toBeGreaterThan(0);
    await viewer.shot("notice-decoder");
    await viewer.page.getByRole("button", { name: "Try again" }).click();
    const before = (await viewer.paints()).length;
    await until(async () => {
      source.send();
      return (await viewer.paints()).length > before;
    }, "a picture after another attempt");
    expect(await viewer.notice()).toBeUndefined();
  });

  test("that pictures arrive and none can be shown", async () => {
    const source = new PlayedSource({ id: "desk/0", recording, fps: 10 });
    rig.add(source);
    // A screen that is never refreshed.
    const viewer = await rig.open({
      before: () => {
        const start = Worker;
        window.Worker = class extends start {
          override postMessage(message: unknown, options?: unknown): void {
            if ((message as { name: string }).name !== "decode")
              super.postMessage(message, options as Transferable[]);
          }
        };
      },
      source: "desk/0",
    });
    await viewer.untilNotice(/No picture comes.*pictures have arrived/);
  });

  test("that plain HTTP is to blame where a browser has nothing for it", async () => {
    rig.add(new PlayedSource({ id: "desk/0", recording, fps: 10 }));
    const viewer = await rig.open({
      host: INSECURE_HOST,
      source: "desk/0",
      before: () => Reflect.deleteProperty(window, "MediaSource"),
    });
    await viewer.untilNotice(/needs HTTPS/);
    await viewer.shot("notice-insecure");
  });

  test("that the address has not the right token", async () => {
    const viewer = await rig.open({ token: "another-token-9876543210" });
    await viewer.untilNotice(/refuses this page.*token is absent or wrong/);
    await viewer.shot("notice-token");
  });
});

/** Overwrites everything after the parameter sets. */
function spoilSlices(data: Uint8Array): Uint8Array {
  const bytes = Uint8Array.from(data);
  for (let i = 0; i + 4 < bytes.length; i += 1) {
    const isStart = bytes[i] === 0 && bytes[i + 1] === 0 && bytes[i + 2] === 1;
    if (isStart && ((bytes[i + 3] ?? 0) & 0x1f) === 5) return bytes.fill(0xff, i + 4);
  }
  return bytes;
}
