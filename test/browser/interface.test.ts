/** The list, the statistics, pointer and keyboard, colours, narrow screens. */
import { describe, expect, test } from "vitest";
import { COUNTER_POINTS, counterOf } from "../support/counter.ts";
import { until } from "../support/until.ts";
import type { PlayedSource } from "./support/played-source.ts";
import { SIZE } from "./support/recording.ts";
import { INSECURE_HOST, useRig, type ViewedPage } from "./support/rig.ts";

/** Of linux/input-event-codes.h. */
const KEYS = { a: 30, leftControl: 29, leftShift: 42, leftAlt: 56, left: 105, enter: 28, d: 32 } as const;

const { rig, play, watch } = useRig({ frames: 400, keyInterval: 40 });

function desktops(): PlayedSource[] {
  return [
    play("studio/stream", { fps: 10, vm: "studio", title: "Desktop" }),
    play("studio/head-0", { fps: 10, vm: "studio", title: "Screen 1", kind: "head" }),
    play("build-7/head-0", { fps: 10, vm: "build-7", title: "Screen 1", kind: "head" }),
  ];
}

const button = (viewer: ViewedPage, name: string | RegExp) => viewer.page.getByRole("button", { name });

/** Whether a canvas of the list is seen and shows something: more than one colour. */
function hasPicture(viewer: ViewedPage, id: string): Promise<boolean> {
  return viewer.page.evaluate((source) => {
    const canvas = document.querySelector<HTMLCanvasElement>(
      `li[data-source="${source}"][data-picture="yes"] canvas`,
    );
    const context = canvas?.getContext("2d");
    if (canvas === null || context === null || context === undefined) return false;
    // 16 to 9, as the recording.
    if (canvas.height !== (canvas.width * 9) / 16) return false;
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size > 50;
  }, id);
}

/** The counter of the picture in the list, which has been made smaller. */
async function counterInList(viewer: ViewedPage, id: string): Promise<number | undefined> {
  const luma = await viewer.page.evaluate(
    ({ source, points, width }) => {
      const canvas = document.querySelector<HTMLCanvasElement>(`li[data-source="${source}"] canvas`);
      const context = canvas?.getContext("2d");
      if (canvas === null || context === null || context === undefined) return [];
      const scale = canvas.width / width;
      return points.map(({ x, y }) => context.getImageData(x * scale, y * scale, 1, 1).data[1] ?? 0);
    },
    { source: id, points: COUNTER_POINTS, width: SIZE.width },
  );
  return counterOf(luma);
}

describe("the list", () => {
  test.each([
    ["secure", undefined],
    ["insecure", INSECURE_HOST],
  ])("has the newest picture of a source that does not change, watched here or elsewhere (%s context)", async (_, host) => {
    const still = play("desk/still");
    const other = play("desk/other", { fps: 10 });
    rig.add(still, other);
    const where = host === undefined ? {} : { host };
    const watching = await rig.open({ ...where, source: still.id });
    await until(() => still.running, "the source to be started");
    for (let sent = 1; sent <= 30; sent += 1) {
      still.send();
      // A <video> need not show each of them.
      if (host === undefined) await watching.untilPainted(sent);
    }
    const elsewhere = await rig.open({ ...where });
    for (const viewer of [elsewhere, watching]) {
      const isNewest = async (): Promise<boolean> => (await counterInList(viewer, still.id)) === 29;
      await until(isNewest, "the newest picture");
    }
    expect(still.keyFrameRequests).toBe(0);
  });

  test.each([
    ["secure", undefined],
    ["insecure", INSECURE_HOST],
  ])("shows VMs, their sources and thumbnails (%s context)", async (name, host) => {
    const sources = desktops();
    rig.add(...sources);
    const viewer = await rig.open(host === undefined ? {} : { host });
    await expect.poll(() => viewer.page.locator("#list h2").allTextContents()).toEqual(["studio", "build-7"]);
    expect(await viewer.page.locator("#list .source-title").allTextContents()).toEqual([
      "Desktop",
      "Screen 1",
      "Screen 1",
    ]);
    for (const { id } of sources) await until(() => hasPicture(viewer, id), `a picture of ${id}`);
    await viewer.shot(`list-${name}`);
    expect(viewer.problems).toEqual([]);
  });

  test("can be used with the keyboard", async () => {
    rig.add(...desktops());
    const viewer = await rig.open();
    const { page } = viewer;
    await page.locator("#list a").first().waitFor();
    const focused = () => page.evaluate(() => document.activeElement?.getAttribute("href"));
    await until(async () => {
      await page.keyboard.press("Tab");
      return (await focused()) === "#/studio/head-0";
    }, "the second source to have the focus");
    await page.keyboard.press("Enter");
    await viewer.untilPainted(3);
    expect(await page.locator("#list a[aria-current=true] .source-title").textContent()).toBe("Screen 1");
    expect(await page.title()).toBe("studio · Screen 1 — vsockenc");
  });

  test("is skipped if there is a single source", async () => {
    const source = play("desk/0", { fps: 10 });
    rig.add(source);
    const viewer = await rig.open({ list: false });
    await until(async () => (await viewer.page.evaluate(() => location.hash)) === "#/desk/0", "the source");
    await viewer.untilPainted(2);
  });
});

test("the statistics show rates, stages, encoder, tier and dropped frames", async () => {
  rig.add(...desktops());
  const viewer = await rig.open({ source: "studio/stream" });
  await viewer.untilPainted(5);
  await button(viewer, "Statistics").click();
  const text = () => viewer.page.locator("#statistics").innerText();
  await expect.poll(text, { timeout: 10_000 }).toMatch(/Guest: newest\s+3/);
  const shown = await text();
  for (const part of [
    /paints per second/,
    /Encoder\s+libx264/,
    /Source tier\s+resource/,
    /Bit rate\s+[\d.]+ of 2\.00 Mbit\/s/,
    /Picture\s+640 × 360, avc1\.\w{6}/,
    /Decoder\s+WebCodecs/,
    /Round trip\s+[\d.]+ ms/,
    /Viewers\s+1/,
    /Capture\s+0\.9/,
    /Queue\s+0\.\d/,
    /Convert\s+0\.4/,
    /Encode\s+2\.3/,
    /Network\s+[\d.]+/,
    /Decode\s+[\d.]+/,
    /Paint\s+[\d.]+/,
    /Frame to paint\s+[\d.]+/,
  ]) {
    expect(shown).toMatch(part);
  }
  expect(Number(/([\d.]+)\s+paints per second/.exec(shown)?.[1])).toBeGreaterThan(0);
});

describe("pointer and keyboard", () => {
  test("reach the guest only after they are switched on", async () => {
    const { source, viewer } = await watch({ fps: 10, controllable: true });
    const { page } = viewer;
    await viewer.untilPainted(1);
    await page.mouse.move(700, 400);
    await page.mouse.click(700, 400);
    await page.keyboard.press("a");
    expect([source.pointers, source.keys]).toEqual([[], []]);

    await button(viewer, "Control").click();
    const box = await page.locator("#screen canvas").boundingBox();
    if (box === null) throw new Error("the picture is not visible");
    await page.mouse.move(box.x + box.width / 4, box.y + box.height / 2);
    await page.mouse.down();
    await page.mouse.up();
    await page.mouse.wheel(0, 100);
    await until(() => source.pointers.some(({ wheelY }) => wheelY !== 0), "the wheel");
    const pressed = source.pointers.find(({ buttons }) => buttons === 1);
    expect((pressed?.x ?? 0) / 65_535).toBeCloseTo(0.25, 2);
    expect((pressed?.y ?? 0) / 65_535).toBeCloseTo(0.5, 2);
    expect(source.pointers.at(-1)).toMatchObject({ buttons: 0, wheelX: 0, wheelY: 120 });

    await page.keyboard.press("Shift+A");
    await page.keyboard.press("ArrowLeft");
    await page.keyboard.press("Enter");
    await until(() => source.keys.length >= 8, "the keys");
    expect(source.keys.map(({ code, pressed: down }) => (down ? code : -code))).toEqual([
      KEYS.leftShift,
      KEYS.a,
      -KEYS.a,
      -KEYS.leftShift,
      KEYS.left,
      -KEYS.left,
      KEYS.enter,
      -KEYS.enter,
    ]);
    await viewer.shot("control");
  });

  test("are released when the picture loses the focus", async () => {
    const { source, viewer } = await watch({ fps: 10, controllable: true });
    await viewer.untilPainted(1);
    await button(viewer, "Control").click();
    await viewer.page.keyboard.down("d");
    await until(() => source.keys.length === 1, "the key");
    await button(viewer, "Statistics").focus();
    await until(() => source.keys.length === 2, "its release");
    expect(source.keys).toEqual([
      { code: KEYS.d, pressed: true },
      { code: KEYS.d, pressed: false },
    ]);
  });

  test("come back on Ctrl+Alt+Shift", async () => {
    const { source, viewer } = await watch({ fps: 10, controllable: true });
    await viewer.untilPainted(1);
    await button(viewer, "Control").click();
    for (const key of ["Control", "Alt", "Shift"]) await viewer.page.keyboard.down(key);
    await until(() => source.keys.length === 6, "three keys and their release");
    expect(source.keys.slice(3).every(({ pressed }) => !pressed)).toBe(true);
    expect(await button(viewer, "Control").getAttribute("aria-pressed")).toBe("false");
    expect(await viewer.page.evaluate(() => document.activeElement?.id)).toBe("control-button");
    for (const key of ["Control", "Alt", "Shift"]) await viewer.page.keyboard.up(key);
    expect(source.keys).toHaveLength(6);
  });

  test("are not offered if the source takes none", async () => {
    const { viewer } = await watch({ fps: 10 });
    await viewer.untilPainted(1);
    expect(await viewer.page.locator("#control-button").isVisible()).toBe(false);
  });
});

describe("how it looks", () => {
  test.each(["light", "dark"] as const)("in %s colours, following the system", async (colorScheme) => {
    rig.add(...desktops());
    const viewer = await rig.open({ context: { colorScheme } });
    for (const { id } of desktops()) await until(() => hasPicture(viewer, id), `a picture of ${id}`);
    await viewer.shot(`overview-${colorScheme}`);
    await viewer.watch("studio/stream");
    await viewer.untilPainted(3);
    await button(viewer, "Statistics").click();
    await viewer.untilPainted(25);
    await viewer.shot(`picture-${colorScheme}`);
    const background = await viewer.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const [red = 0] = /\d+/.exec(background)?.map(Number) ?? [];
    expect(red > 128).toBe(colorScheme === "light");
  });

  test("the user's choice is kept", async () => {
    const viewer = await rig.open({ context: { colorScheme: "light" } });
    const theme = () => viewer.page.evaluate(() => document.documentElement.dataset["theme"]);
    await button(viewer, /^Colours/).click();
    await button(viewer, /^Colours/).click();
    expect(await theme()).toBe("dark");
    await viewer.page.reload();
    expect(await theme()).toBe("dark");
  });

  test("on a narrow screen the list covers the picture and closes when a source is chosen", async () => {
    rig.add(...desktops());
    const viewer = await rig.open({
      source: "studio/stream",
      context: { viewport: { width: 390, height: 780 } },
    });
    await viewer.untilPainted(2);
    const list = viewer.page.locator("#list");
    expect(await list.isVisible()).toBe(false);
    await button(viewer, "List of sources").click();
    expect(await list.isVisible()).toBe(true);
    await viewer.shot("narrow-list");
    await viewer.page.locator("#list a").nth(2).click();
    await until(async () => !(await list.isVisible()), "the list to go");
    await until(async () => (await viewer.notice()) === undefined, "the other picture");
    await viewer.shot("narrow");
    expect(await viewer.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth)).toBe(true);
  });

  test("in its original size, a pixel of the picture is a pixel of the screen", async () => {
    const { viewer } = await watch({ fps: 10 });
    await viewer.untilPainted(1);
    const width = async () => (await viewer.page.locator("#screen canvas").boundingBox())?.width;
    expect(await width()).toBeGreaterThan(640);
    await button(viewer, "Original size").click();
    expect(await width()).toBe(640);
    await button(viewer, "Full screen").click();
    await until(() => viewer.page.evaluate(() => document.fullscreenElement?.id === "stage"), "full screen");
  });
});
