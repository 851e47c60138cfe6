/** The picture: a browser shows a source's frames in order, once and at once. */
import type { Route } from "playwright-core";
import { describe, expect, test } from "vitest";
import { until } from "../support/until.ts";
import { INSECURE_HOST, useRig } from "./support/rig.ts";

/** A single key frame at the start: a test that needs another one fails. */
const { rig, play, watch } = useRig({ frames: 400, keyInterval: 1000 });

const range = (from: number, count: number): number[] => Array.from({ length: count }, (_, i) => from + i);

describe("the picture", () => {
  test("shows every frame of a stream, each once and in order", async () => {
    const { source, viewer } = await watch();
    for (let sent = 1; sent <= 60; sent += 1) await viewer.sendAndSee(source);
    expect(await viewer.counters()).toEqual(range(0, 60));
    expect((await viewer.paints()).map(({ number }) => number)).toEqual(range(1, 60));
    expect(source.keyFrameRequests).toBe(0);
    expect(viewer.problems).toEqual([]);
  });

  test("shows a stream that runs at its own pace", async () => {
    const { viewer } = await watch({ fps: 10 });
    await viewer.untilPainted(40);
    const counters = await viewer.counters();
    const span = (counters.at(-1) ?? 0) - (counters[0] ?? 0) + 1;
    // On a busy machine two frames may arrive within one refresh of the screen; nothing else may be missing.
    const drops = await viewer.drops();
    const replaced = drops.filter(({ reason }) => reason === "replaced by a newer one");
    expect(span - counters.length).toBeLessThanOrEqual(replaced.length);
    expect(counters).toEqual([...new Set(counters)].sort((a, b) => Number(a) - Number(b)));
    expect(drops).toEqual(replaced);
  });

  test("shows a second viewer the newest picture without another key frame", async () => {
    const { source, viewer: first } = await watch();
    for (let sent = 1; sent <= 50; sent += 1) await first.sendAndSee(source);
    const second = await rig.open({ source: source.id });
    await second.untilPainted(1);
    source.send();
    await second.untilPainted(2);
    // Of the fifty replayed frames only the newest was shown.
    expect(await second.counters()).toEqual([49, 50]);
    expect(source.keyFrameRequests).toBe(0);
  });

  test("continues for one viewer while another has stopped", async () => {
    const { source, viewer: stopped } = await watch();
    const viewer = await rig.open({ source: source.id });
    source.send();
    await Promise.all([stopped.untilPainted(1), viewer.untilPainted(1)]);
    // A page that waits for an answer reads nothing else, like one on a computer that sleeps.
    let sleep: Route | undefined;
    await stopped.page.route("**/sleep", (route) => {
      sleep = route;
    });
    const awake = stopped.page.evaluate(() => {
      const request = new XMLHttpRequest();
      request.open("GET", "sleep", false);
      request.send();
    });
    await until(() => sleep !== undefined, "its request");
    for (let sent = 2; sent <= 40; sent += 1) await viewer.sendAndSee(source);
    expect(await viewer.counters()).toEqual(range(0, 40));
    await sleep?.fulfill({ body: "" });
    await awake;
    await until(async () => {
      source.send();
      return (await stopped.paints()).length > 1;
    }, "the picture to continue");
  });

  test("is shown over plain HTTP, without WebCodecs", async () => {
    const { source, viewer } = await watch({ fps: 10 }, { host: INSECURE_HOST });
    const context = await viewer.page.evaluate(() => [isSecureContext, "VideoDecoder" in window]);
    expect(context).toEqual([false, false]);
    await viewer.untilPainted(30);
    source.pause();
    // A decoder that holds a frame until the next one arrives would hang here.
    await until(async () => (await viewer.paints()).at(-1)?.number === source.delivered, "the last one");
    const painted = (await viewer.paints()).map(({ number }) => number);
    expect(painted).toEqual([...new Set(painted)].sort((a, b) => a - b));
    // The <video> may already show a neighbour of the reported picture when its pixels are read.
    const counters = (await viewer.counters()).map((counter) => counter ?? Number.NaN);
    expect(counters).not.toContain(Number.NaN);
    expect(counters).toEqual([...counters].sort((a, b) => a - b));
    expect([source.delivered - 2, source.delivered - 1]).toContain(counters.at(-1));
    await viewer.page.getByRole("button", { name: "Statistics" }).click();
    const statistics = viewer.page.locator("#statistics");
    await expect.poll(() => statistics.textContent()).toContain("Media Source Extensions");
    await viewer.shot("plain-http");
    expect(viewer.problems).toEqual([]);
  });

  test("comes back after the server was restarted", async () => {
    const { viewer } = await watch({ fps: 10 });
    await viewer.untilPainted(5);
    await rig.stopServer();
    await viewer.untilNotice(/Connection lost|Server unreachable/);
    const before = (await viewer.paints()).length;
    await rig.startServerAgain();
    rig.add(play("desk/0", { fps: 10 }));
    await viewer.untilPainted(before + 5);
    await until(async () => (await viewer.notice()) === undefined, "the notice to go");
  });
});
