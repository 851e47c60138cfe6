/** The guest's pointer over the picture: position and colours. */
import { describe, expect, test } from "vitest";
import { SIZE } from "./support/recording.ts";
import { useRig, type ViewedPage } from "./support/rig.ts";

const SIDE = 64;

const { rig, play, watch } = useRig({ frames: 100, keyInterval: 40 });

/** Of one colour: red, green, blue, alpha, multiplied. */
function image(...pixel: readonly number[]) {
  return { width: SIDE, height: SIDE, pixels: Buffer.alloc(SIDE * SIDE * 4, Buffer.from(pixel)) };
}

const pointer = (viewer: ViewedPage) => viewer.page.locator(".guest-pointer");

/** The shown pointer's position and width, in pixels of the picture. */
async function position(viewer: ViewedPage): Promise<{ x: number; y: number; width: number } | undefined> {
  const [shown, picture] = await Promise.all([
    pointer(viewer).boundingBox(),
    viewer.page.locator("#screen canvas").boundingBox(),
  ]);
  if (shown === null || picture === null) return undefined;
  const factor = SIZE.width / picture.width;
  const round = (value: number): number => Math.round(value * factor);
  return { x: round(shown.x - picture.x), y: round(shown.y - picture.y), width: round(shown.width) };
}

/** Of the middle of the pointer's image as the browser has it: red, green, blue, alpha. */
function colour(viewer: ViewedPage): Promise<number[]> {
  return pointer(viewer).evaluate(async (element: HTMLImageElement) => {
    await element.decode();
    const context = new OffscreenCanvas(64, 64).getContext("2d");
    context?.drawImage(element, 0, 0);
    return [...(context?.getImageData(32, 32, 1, 1).data ?? [])];
  });
}

describe("the guest's pointer", () => {
  test("has the guest's position, in every scale", async () => {
    const { source, viewer } = await watch({ fps: 10, kind: "head" });
    await viewer.untilPainted(1);
    expect(await position(viewer)).toBeUndefined();
    const red = image(255, 0, 0, 255);
    source.point({ x: 100, y: 60, image: red });
    await expect.poll(() => position(viewer)).toEqual({ x: 100, y: 60, width: SIDE });
    await viewer.shot("guest-pointer");
    await viewer.page.setViewportSize({ width: 700, height: 900 });
    await expect.poll(() => position(viewer)).toEqual({ x: 100, y: 60, width: SIDE });
    source.point({ x: -20, y: -10, image: red });
    await expect.poll(() => position(viewer)).toEqual({ x: -20, y: -10, width: SIDE });
    source.point({ x: 0, y: 0, image: undefined });
    await expect.poll(() => position(viewer)).toBeUndefined();
    expect(viewer.problems).toEqual([]);
  });

  test("is shown to later viewers, and not on another source", async () => {
    const { source, viewer } = await watch({ fps: 10, kind: "head" });
    const other = play("desk/port0", { fps: 10 });
    rig.add(other);
    await viewer.untilPainted(1);
    source.point({ x: 7, y: 8, image: image(0, 255, 0, 255) });
    const late = await rig.open({ source: source.id });
    await late.untilPainted(1);
    await expect.poll(() => position(late)).toEqual({ x: 7, y: 8, width: SIDE });
    await late.watch(other.id);
    await expect.poll(() => position(late)).toBeUndefined();
    await late.watch(source.id);
    await expect.poll(() => position(late)).toEqual({ x: 7, y: 8, width: SIDE });
    expect(await colour(late)).toEqual([0, 255, 0, 255]);
  });

  test("has the guest's colours, which are premultiplied", async () => {
    const { source, viewer } = await watch({ fps: 10, kind: "head" });
    await viewer.untilPainted(1);
    source.point({ x: 7, y: 8, image: image(100, 50, 0, 128) });
    await expect.poll(() => position(viewer)).toBeDefined();
    const [red = 0, green = 0, blue = 0, alpha] = await colour(viewer);
    expect([alpha, blue]).toEqual([128, 0]);
    expect(Math.abs(red - 199)).toBeLessThanOrEqual(2);
    expect(Math.abs(green - 100)).toBeLessThanOrEqual(2);
  });
});
