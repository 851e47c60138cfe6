/**
 * The whole path: a real guest's frames in a real browser. The frames carry a counter, which is read back from the
 * pictures that the page paints.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { STAGES } from "../../viewer/page/statistics/stages.ts";
import { median } from "../bench/statistics.ts";
import { Rig, type ViewedPage } from "../browser/support/rig.ts";
import { dmabufsrc, upTo } from "../support/counter.ts";
import { temporaryFolder } from "../support/folder.ts";
import { freePort } from "../support/free-port.ts";
import { until } from "../support/until.ts";
import type { SupervisedProcess } from "../vm/child.ts";
import type { Job } from "../vm/guest-agent.ts";
import { startRelay, vmSection } from "../vm/host-processes.ts";
import { Vm } from "../vm/vm.ts";

const SIZE = { width: 640, height: 360 };
const FPS = 10;
/** Longer than a test, so no viewer depends on a periodic key frame. */
const KEYFRAME_INTERVAL = 100_000;
const TOKEN = "viewer-vm-test-token";
const SOURCE = "desk/port0";
const HEAD = "desk/head0";

const folder = temporaryFolder();
let vm: Vm;
let relay: SupervisedProcess;
let rig: Rig;
let address = "";

beforeAll(async () => {
  // It builds the page, which the relay reads when it starts.
  rig = await Rig.start();
  const port = await freePort();
  vm = await Vm.boot({ relay: false, mode: `${SIZE.width}x${SIZE.height}`, log: console.log });
  const viewer = `status.enabled = false\nviewer = { enabled = true, port = ${port}, token = "${TOKEN}" }\n`;
  writeFileSync(join(folder, "relay.toml"), viewer + vmSection("desk", vm, "view = { heads = true }"));
  relay = startRelay(join(folder, "relay.toml"));
  address = `http://127.0.0.1:${port}/?token=${TOKEN}`;
  await until(() => relay.log.includes("open this address in a browser"), "the viewer");
});

afterAll(async () => {
  await rig?.stop();
  await relay?.stop();
  await vm?.shutdown();
});

/**
 * The counters from the first on, each once and in order; those that are not among them were replaced by a newer one
 * within one refresh of the screen, which the page counts.
 */
async function expectEveryFrame(page: ViewedPage): Promise<void> {
  const counters = (await page.counters()).map((counter) => counter ?? -1);
  const replaced = (await page.drops()).reduce((sum, { count }) => sum + count, 0);
  expect(counters).not.toContain(-1);
  expect(counters).toEqual([...new Set(counters)].sort((a, b) => a - b));
  const missing = (counters.at(-1) ?? 0) - (counters[0] ?? 0) + 1 - counters.length;
  expect(missing, "unaccounted frames").toBeLessThanOrEqual(replaced);
}

/** Where the frames spent their time, as the page's statistics show it. */
function timesText(paints: Awaited<ReturnType<ViewedPage["paints"]>>): string {
  const medianMs = (values: readonly (number | undefined)[]): string =>
    `${median(values.filter((value) => value !== undefined)).toFixed(1)} ms`;
  const stages = STAGES.map(
    ({ name, what }) => `${name} (${what}) ${medianMs(paints.map(({ times }) => times[name]))}`,
  );
  const total = `frame to paint, as far as known: ${medianMs(paints.map(({ totalMs }) => totalMs))}`;
  return [`medians of ${paints.length} frames (NaN: unknown):`, ...stages, total].join("\n  ");
}

describe("a guest's stream in browsers", () => {
  const STATS = "/tmp/stream.json";
  let stream: Job;

  beforeAll(() => {
    const encoder = `vsockenc drop=never bitrate=2000 keyframe-interval=${KEYFRAME_INTERVAL}`;
    const options = `--live --fps ${FPS} --stats-json ${STATS}`;
    stream = vm.start(dmabufsrc(SIZE, 60_000, `${encoder} ! fakesink`, options));
  });

  /** The guest alone measures from a frame's start to the last byte of its packet. */
  afterAll(async () => {
    stream.signal("INT");
    await stream.done;
    const stats = JSON.parse(await vm.succeed(`cat ${STATS}`)) as Record<string, number>;
    const ms = (name: string): number => (stats[`${name}-us-p50`] ?? Number.NaN) / 1000;
    const onHost = ms("queue") + ms("convert") + ms("encode");
    console.log(
      `round trip by the guest's clock: ${ms("round-trip")} ms, of which ${onHost.toFixed(1)} ms in queue, convert ` +
        "and encode, and the rest in port and relay",
    );
  });

  it("shows every frame that the guest draws, once and in order, and joins between key frames", async () => {
    const first = await rig.open({ address, source: SOURCE, context: { colorScheme: "dark" } });
    await first.page.getByRole("button", { name: "Statistics" }).click();
    await first.untilPainted(60);
    const second = await rig.open({ address, source: SOURCE });
    await second.untilPainted(30);
    await expectEveryFrame(first);
    await expectEveryFrame(second);
    const paints = await first.paints();
    console.log(timesText(paints));
    // All stages from the encoder on are known; capture is measured by the guest's clock alone.
    const known = STAGES.map(({ name }) => name).filter((name) => paints.at(-1)?.times[name] !== undefined);
    expect(known).toEqual(STAGES.map(({ name }) => name).filter((name) => name !== "capture"));
    await first.shot("guest-stream");
    expect([...first.problems, ...second.problems]).toEqual([]);
    await second.page.context().close();
    await first.page.context().close();
  });

  it("is not slowed by a viewer that is stopped", async () => {
    const stopped = await rig.open({ address, source: SOURCE });
    const other = await rig.open({ address, source: SOURCE });
    await stopped.untilPainted(5);
    // The page's main thread, through which everything comes, never comes back.
    void stopped.page
      .evaluate(() => {
        for (;;);
      })
      .catch(() => {});
    const before = (await other.paints()).length;
    await other.untilPainted(before + 60);
    await expectEveryFrame(other);
    await other.page.context().close();
    await stopped.page.context().close();
  });

  it("comes back by itself when the relay was killed and started again", async () => {
    const page = await rig.open({ address, source: SOURCE });
    await page.untilPainted(10);
    relay.kill("SIGKILL");
    await relay.ended();
    await page.untilNotice(/server|relay|connection|again/i);
    const before = (await page.paints()).length;
    const killed = performance.now();
    relay.start();
    await page.untilPainted(before + 10);
    console.log(`from the relay's start to ten paints: ${Math.round(performance.now() - killed)} ms`);
    const counters = (await page.counters()).map((counter) => counter ?? -1);
    expect(counters).toEqual([...counters].sort((a, b) => a - b));
    await page.page.context().close();
  });
});

describe("what moves twice a second", () => {
  const FRAMES = 8;
  const FRAME_BYTES = SIZE.width * SIZE.height * 4;

  it("is shown before the next frame is drawn: nothing between guest and screen waits for a successor", async () => {
    const size = `width=${SIZE.width} height=${SIZE.height}`;
    await vm.succeed(dmabufsrc(SIZE, FRAMES, "filesink location=/tmp/frames", "--allocator system"));
    await vm.succeed("mkfifo /tmp/screen");
    const page = await rig.open({ address, source: SOURCE });
    const pipeline = `fdsrc fd=3 ! rawvideoparse ${size} format=bgrx framerate=2/1 ! vsockenc ! fakesink`;
    const stream = vm.start(`exec 3<>/tmp/screen; exec gst-launch-1.0 ${pipeline}`);
    for (let drawn = 1; drawn <= FRAMES; drawn += 1) {
      await vm.succeed(
        `dd if=/tmp/frames of=/tmp/screen bs=${FRAME_BYTES} skip=${drawn - 1} count=1 status=none`,
      );
      await page.untilPainted(drawn);
    }
    expect(await page.counters()).toEqual(upTo(FRAMES));
    expect(await page.drops()).toEqual([]);
    stream.signal("KILL");
    await stream.done;
    await page.page.context().close();
  });
});

describe("the guest's screen in a browser", () => {
  it("is there without software in the guest", async () => {
    const text = "The console of a guest that has no software for it";
    await vm.succeed(`for line in $(seq 18); do echo "$line ${text}"; done >/dev/tty1`);
    const page = await rig.open({ address, source: HEAD });
    await page.untilPainted(1);
    expect(await page.notice()).toBeUndefined();
    await page.shot("guest-head");
    await page.page.context().close();
  });
});
