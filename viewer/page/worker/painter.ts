/**
 * Puts pictures on the canvas, the newest one at each refresh of the screen, and tells of each that was put there.
 *
 * An OffscreenCanvas shows what was drawn at the worker's next animation frame, whenever that was; drawing in the
 * animation frame itself costs no time and draws nothing that nobody can see.
 */
import { now, type Paint, type Point, paintOf } from "../player/unit.ts";
import type { Decoded } from "./decoder.ts";
import { readLuma } from "./probe.ts";

export interface PainterEvents {
  onPaint(paint: Paint): void;
  /** A picture that was never on the screen, because a newer one was there in time. */
  onReplaced(): void;
}

export class Painter {
  readonly #events: PainterEvents;
  #canvas: OffscreenCanvas | undefined;
  #context: OffscreenCanvasRenderingContext2D | null = null;
  #next: { readonly frame: VideoFrame; readonly decoded: Decoded } | undefined;
  #scheduled = false;
  #points: readonly Point[] = [];

  constructor(events: PainterEvents) {
    this.#events = events;
  }

  use(canvas: OffscreenCanvas): void {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: false, desynchronized: true });
  }

  probe(points: readonly Point[]): void {
    this.#points = points;
  }

  /** Takes the frame, and closes it. */
  show(frame: VideoFrame, decoded: Decoded): void {
    if (this.#next !== undefined) {
      this.#next.frame.close();
      this.#events.onReplaced();
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
    // Setting a canvas's size clears it, even where the size is the same.
    if (canvas.width !== displayWidth || canvas.height !== displayHeight) {
      canvas.width = displayWidth;
      canvas.height = displayHeight;
    }
    this.#context?.drawImage(frame, 0, 0, displayWidth, displayHeight);
  }
}
