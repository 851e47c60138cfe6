/** What the page and the worker that decodes tell each other. */
import type { Configuration, DropReason, Paint, Point, Unit } from "../player/unit.ts";

export type ToWorker =
  | { readonly type: "canvas"; readonly canvas: OffscreenCanvas }
  | { readonly type: "configure"; readonly configuration: Configuration }
  | { readonly type: "unit"; readonly unit: Unit }
  | { readonly type: "reset" }
  | { readonly type: "probe"; readonly points: readonly Point[] };

export type FromWorker =
  | { readonly type: "decoded"; readonly queueLength: number }
  | { readonly type: "painted"; readonly paint: Paint }
  | { readonly type: "dropped"; readonly reason: DropReason; readonly count: number }
  | { readonly type: "keyFrameNeeded" }
  | { readonly type: "failed"; readonly text: string }
  | { readonly type: "decoder"; readonly name: string };
