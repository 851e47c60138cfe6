/** The list, the statistics, pointer and keyboard, colours, narrow screens. */
import { describe, expect, test } from "vitest";
import { COUNTER_POINTS, counterOf } from "../support/counter.ts";
import { until } from "../support/until.ts";
import { SIZE } from "./support/recording.ts";
import { INSECURE_HOST, type PageOptions, useRig, type ViewedPage } from "./support/rig.ts";

/** Of linux/input-event-codes.h. */
const KEYS = { a: 30, leftShift: 42, left: 105, enter: 28, d: 32 } as const;

const { rig, play, watch } = useRig({ frames: 400, keyInterval: 40 });

/** Adds three sources of two VMs, and opens a page. */
async function openDesktops(options: PageOptions = {}): Promise<ViewedPage> {
  rig.add(
    play("studio/stream", { fps: 10, vm: "studio", title: "Desktop" }),
    play("studio/head-0", { fps: 10, vm: "studio", title: "Screen 1", kind: "head" }),
    play("build-7/head-0", { fps: 10, vm: "build-7", title: "Screen 1", kind: "head" }),
  );
  return rig.open(options);
}

/** A painted picture whose source takes pointer and keyboard, which are switched on. */
async function control() {
  const watched = await watch({ fps: 10, input: true });
  await watched.viewer.untilPainted(1);
  await button(watched.viewer, "Control").click();
  return watched;
}

const CONTEXTS = [
  ["secure", {}],
  ["insecure", { host: INSECURE_HOST }],
] as const;

const button = (viewer: ViewedPage, name: string | RegExp) => viewer.page.getByRole("button", { name });

/** The counter of a source's picture in the list, which has been made smaller; undefined without one. */
async function counterInList({ page }: ViewedPage, id: string): Promise<number | undefined> {
  const canvas = page.locator(`li[data-source="${id}"][data-picture="yes"] canvas`);
  if ((await canvas.count()) === 0) return undefined;
  const luma = await canvas.evaluate(
    (element: HTMLCanvasElement, { points, size }) => {
      const context = element.getContext("2d");
      const scale = element.width / size.width;
      if (context === null || element.height * size.width !== element.width * size.height) return [];
      return points.map(({ x, y }) => context.getImageData(x * scale, y * scale, 1, 1).data[1] ?? 0);
    },
    { points: COUNTER_POINTS, size: SIZE },
  );
  return counterOf(luma);
}

async function untilListed(viewer: ViewedPage): Promise<void> {
  for (const id of ["studio/stream", "studio/head-0", "build-7/head-0"]) {
    await until(async () => (await counterInList(viewer, id)) !== undefined, `a picture of ${id}`);
  }
}

describe("the list", () => {
  test.each(
    CONTEXTS,
  )("has the newest picture of a source that does not change, watched here or elsewhere (%s context)", async (name, page) => {
    rig.add(play("desk/other", { fps: 10 }));
    const { source: still, viewer: watching } = await watch({}, page);
    for (let sent = 1; sent <= 30; sent += 1) {
      // A <video> need not show each of them.
      if (name === "secure") await watching.sendAndSee(still);
      else still.send();
    }
    const elsewhere = await rig.open(page);
    for (const viewer of [elsewhere, watching]) {
      const isNewest = async (): Promise<boolean> => (await counterInList(viewer, still.id)) === 29;
      await until(isNewest, "the newest picture");
    }
    expect(still.keyFrameRequests).toBe(0);
  });

  test.each(CONTEXTS)("shows VMs, their sources and thumbnails (%s context)", async (name, page) => {
    const viewer = await openDesktops(page);
    await expect.poll(() => viewer.page.locator("#list h2").allTextContents()).toEqual(["studio", "build-7"]);
    const titles = await viewer.page.locator("#list .source-title").allTextContents();
    expect(titles).toEqual(["Desktop", "Screen 1", "Screen 1"]);
    await untilListed(viewer);
    await viewer.shot(`list-${name}`);
    expect(viewer.problems).toEqual([]);
  });

  test("can be used with the keyboard", async () => {
    const viewer = await openDesktops();
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
  const viewer = await openDesktops({ source: "studio/stream" });
  await viewer.untilPainted(5);
  await button(viewer, "Statistics").click();
  const text = () => viewer.page.locator("#statistics").innerText();
  await expect.poll(text).toMatch(/Guest: newest\s+3/);
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
    const { source, viewer } = await watch({ fps: 10, input: true });
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
    const { leftShift, a, left, enter } = KEYS;
    const keys = source.keys.map(({ code, pressed: down }) => (down ? code : -code));
    expect(keys).toEqual([leftShift, a, -a, -leftShift, left, -left, enter, -enter]);
    await viewer.shot("control");
  });

  test("are released when the picture loses the focus", async () => {
    const { source, viewer } = await control();
    await viewer.page.keyboard.down("d");
    await until(() => source.keys.length === 1, "the key");
    await button(viewer, "Statistics").focus();
    await until(() => source.keys.length === 2, "its release");
    expect(source.keys).toEqual([true, false].map((pressed) => ({ code: KEYS.d, pressed })));
  });

  test("come back on Ctrl+Alt+Shift", async () => {
    const { source, viewer } = await control();
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
    const viewer = await openDesktops({ context: { colorScheme } });
    await untilListed(viewer);
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
    const context = { viewport: { width: 390, height: 780 } };
    const viewer = await openDesktops({ source: "studio/stream", context });
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
