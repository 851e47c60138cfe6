/**
 * Paints the newest picture at each refresh of the screen, and reports each paint.
 *
 * An OffscreenCanvas is presented at the worker's next animation frame. Drawing in the animation frame itself therefore
 * adds no delay, and skips pictures that would never be visible.
 */
import { now, type PlayerEvents, type Point, paintOf } from "../player/unit.ts";
import type { Decoded } from "./decoder.ts";
import { readLuma } from "./probe.ts";

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
    this.#draw(frame);
    const { unit, times, decodedAt } = decoded;
    const at = now();
    const paint = paintOf(unit, { ...times, paint: at - decodedAt }, at);
    if (this.#points.length === 0) {
      frame.close();
      this.#events.onPaint(paint);
      return;
    }
    readLuma(frame, this.#points).then((luma) => this.#events.onPaint({ ...paint, luma }));
  }

  #draw(frame: VideoFrame): void {
    const canvas = this.#canvas;
    if (canvas === undefined) return;
    const { displayWidth, displayHeight } = frame;
    // Setting a canvas's size clears it, even to the same size.
    if (canvas.width !== displayWidth || canvas.height !== displayHeight) {
      canvas.width = displayWidth;
      canvas.height = displayHeight;
    }
    this.#context?.drawImage(frame, 0, 0, displayWidth, displayHeight);
  }
}
