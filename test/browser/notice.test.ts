/** Without a picture, the page shows the reason. */
import { describe, expect, test } from "vitest";
import { until } from "../support/until.ts";
import { record } from "./support/recording.ts";
import { INSECURE_HOST, useRig } from "./support/rig.ts";

const { rig, play, watch } = useRig({ frames: 100, keyInterval: 20 });

describe("without a picture the page reports", () => {
  test("that there are no sources", async () => {
    const viewer = await rig.open();
    await viewer.untilNotice(/No sources yet/);
    await viewer.shot("notice-nothing");
  });

  test("that the source does not exist, and shows it when it is added", async () => {
    const viewer = await rig.open({ source: "desk/0" });
    await viewer.untilNotice(/Source desk\/0 does not exist/);
    rig.add(play("desk/0", { fps: 10 }));
    await viewer.untilPainted(1);
    await until(async () => (await viewer.notice()) === undefined, "the notice to go");
    rig.remove("desk/0");
    await viewer.untilNotice(/Source desk\/0 does not exist/);
  });

  test("the source's own state", async () => {
    const { source, viewer } = await watch();
    await viewer.untilNotice(/Starting.*Waiting for the first picture/);
    await until(() => source.running, "the source to be started");
    source.report({ code: "away", text: "the relay of this VM does not run" });
    await viewer.untilNotice(/Source unavailable.*The relay of this VM does not run\./);
    await viewer.shot("notice-away");
    source.report({ code: "failed", text: "The encoder refused 5000 × 5000." });
    await viewer.untilNotice(/cannot be shown.*The encoder refused 5000 × 5000\./);
  });

  test("that the screen does not change, beside the current picture", async () => {
    const { source, viewer } = await watch();
    source.send();
    await viewer.untilPainted(1);
    source.report({ code: "idle" });
    await expect.poll(() => viewer.page.locator("#hint").textContent()).toMatch(/not changing.*is current/);
    expect(await viewer.notice()).toBeUndefined();
    await viewer.shot("idle");
  });

  test("that the browser cannot decode the codec", async () => {
    const h265 = await record({ frames: 5, keyInterval: 5, codec: "h265" });
    const { viewer } = await watch({ recording: h265, fps: 2 });
    await viewer.untilNotice(/H\.265, which this browser cannot decode/);
  });

  test("that decoding failed, also in software", async () => {
    const { source, viewer } = await watch();
    source.send();
    await viewer.untilPainted(1);
    // Valid parameter sets, which the server checks, and noise instead of slices.
    const spoiled = spoilSlices(source.recording.units[0]?.data ?? new Uint8Array());
    await until(async () => {
      source.deliverBytes(spoiled, true);
      return /rejected the stream/.test((await viewer.notice())?.text ?? "");
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

  test("that pictures arrive but cannot be shown", async () => {
    rig.add(play("desk/0", { fps: 10 }));
    // A worker that gets no units.
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
    await viewer.untilNotice(/No picture.*pictures have arrived/);
  });

  test("that HTTPS is required if the browser lacks Media Source Extensions", async () => {
    rig.add(play("desk/0", { fps: 10 }));
    const viewer = await rig.open({
      host: INSECURE_HOST,
      source: "desk/0",
      before: () => Reflect.deleteProperty(window, "MediaSource"),
    });
    await viewer.untilNotice(/HTTPS required/);
    await viewer.shot("notice-insecure");
  });

  test("that the token is wrong", async () => {
    const viewer = await rig.open({ token: "another-token-9876543210" });
    await viewer.untilNotice(/Connection rejected.*Missing or wrong token/);
    await viewer.shot("notice-token");
  });
});

/** Overwrites the first slice of a key frame (NAL unit type 5), and what follows it. */
function spoilSlices(data: Uint8Array): Uint8Array {
  const bytes = Buffer.from(data);
  return bytes.fill(0xff, bytes.indexOf(Buffer.from([0, 0, 1, 0x65])) + 4);
}
