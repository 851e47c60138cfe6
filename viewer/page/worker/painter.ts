/**
 * Paints the newest picture at each refresh of the screen, and reports each paint.
 *
 * An OffscreenCanvas is presented at the worker's next animation frame. Drawing in the animation frame itself therefore
 * adds no delay, and skips pictures that would never be visible.
 */
import { now, type PlayerEvents, type Point, paintOf } from "../player/unit.ts";
import type { Decoded } from "./decoder.ts";

export class Painter {
  readonly #events: Pick<PlayerEvents, "onPaint" | "onDrop">;
  #canvas: OffscreenCanvas | undefined;
  #context: OffscreenCanvasRenderingContext2D | null = null;
  #next: { readonly frame: VideoFrame; readonly decoded: Decoded } | undefined;
  #scheduled = false;
  #points: readonly Point[] = [];

  constructor(events: Pick<PlayerEvents, "onPaint" | "onDrop">) {
    this.#events = events;
  }

  use(canvas: OffscreenCanvas): void {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: false, desynchronized: true });
  }

  probe(points: readonly Point[]): void {
    this.#points = points;
  }

  /** Takes over the frame and closes it. */
  show(frame: VideoFrame, decoded: Decoded): void {
    if (this.#next !== undefined) {
      this.#next.frame.close();
      this.#events.onDrop("replaced by a newer one", 1);
    }
    this.#next = { frame, decoded };
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#paint();
    });
  }

  clear(): void {
    this.#next?.frame.close();
    this.#next = undefined;
    if (this.#canvas !== undefined) this.#context?.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
  }

  #paint(): void {
    const next = this.#next;
    this.#next = undefined;
    if (next === undefined) return;
    const { frame, decoded } = next;
    const { displayWidth: width, displayHeight: height } = frame;
    // Setting a canvas's size clears it, even to the same size.
    const canvas = this.#canvas;
    const isOther = canvas?.width !== width || canvas.height !== height;
    if (canvas !== undefined && isOther) Object.assign(canvas, { width, height });
    this.#context?.drawImage(frame, 0, 0, width, height);
    const { unit, times, decodedAt } = decoded;
    const at = now();
    const paint = paintOf(unit, { ...times, paint: at - decodedAt }, at);
    if (this.#points.length > 0) {
      readLuma(frame, this.#points).then((luma) => this.#events.onPaint({ ...paint, luma }));
      return;
    }
    frame.close();
    this.#events.onPaint(paint);
  }
}

/** Formats whose first plane is luma, one byte per pixel. */
const LUMA_FIRST: readonly (string | null)[] = ["I420", "I420A", "I422", "I444", "NV12"];

/**
 * For tests, and from the decoded frame, because reading a canvas back slows the page down: the coded luma at each point, 0 to 255 (16 is video black), -1 outside the picture; the green channel of RGB frames.
 * Closes the frame.
 */
async function readLuma(frame: VideoFrame, points: readonly Point[]): Promise<number[]> {
  const { format, visibleRect } = frame;
  const luma = LUMA_FIRST.includes(format);
  const pixelBytes = luma ? 1 : 4;
  const channel = luma ? 0 : 1;
  const pixels = new Uint8Array(frame.allocationSize());
  const [plane] = await frame.copyTo(pixels);
  frame.close();
  const { width, height } = visibleRect ?? { width: 0, height: 0 };
  return points.map(({ x, y }) => {
    if (plane === undefined || x >= width || y >= height) return -1;
    return pixels[plane.offset + y * plane.stride + x * pixelBytes + channel] ?? -1;
  });
}
