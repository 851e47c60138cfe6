/**
 * What shows a stream: WebCodecs where the browser has it, Media Source Extensions where it does not (webcodecs.ts,
 * mse/player.ts). A player decodes what it is given and tells what became of every access unit.
 */

import type { Configuration, DropReason, Paint, Point, Unit } from "./unit.ts";

export interface PlayerEvents {
  onDecoded(queueLength: number): void;
  onPaint(paint: Paint): void;
  onDrop(reason: DropReason, count: number): void;
  onKeyFrameNeeded(): void;
  /** The decoder gave up; the text is a plain sentence. The next configuration begins anew. */
  onFailure(text: string): void;
  /** How it decodes, e.g. "WebCodecs" or "WebCodecs, in software". */
  onDecoder(name: string): void;
}

export interface Player {
  /** What is shown on the page, and takes pointer and keyboard. */
  readonly element: HTMLCanvasElement | HTMLVideoElement;
  /** Codecs that it takes, for ViewerHello. */
  readonly codecs: readonly ("h264" | "h265")[];
  configure(configuration: Configuration): void;
  /** Takes the unit's memory: nobody else may use it afterwards. */
  decode(unit: Unit): void;
  /** Forgets the stream and clears the picture: another source follows. */
  reset(): void;
  /** Every Paint from now on carries the brightness at these points. */
  probe(points: readonly Point[]): void;
}
