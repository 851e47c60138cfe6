/** An access unit on its way from the WebSocket to the screen, and what is told of it. Page and worker share this. */
import type { FrameTimes } from "../statistics/stages.ts";

/** What the access units that follow are. */
export interface Configuration {
  /** RFC 6381, from the stream's own parameter sets. */
  readonly codec: string;
  /** Of the picture, in pixels. */
  readonly width: number;
  readonly height: number;
}

export interface UnitHead {
  /** Counts the source's access units. */
  readonly number: number;
  readonly ptsUs: number;
  readonly key: boolean;
  /** To be decoded and not to be shown. */
  readonly replay: boolean;
  /** When the WebSocket had it, in ms as `now()` counts. */
  readonly arrivedAt: number;
  /** Of its way until then. */
  readonly times: FrameTimes;
}

export interface Unit extends UnitHead {
  /** Annex B. */
  readonly data: Uint8Array<ArrayBuffer>;
}

/** Why an access unit that had arrived was not painted. */
export type DropReason =
  /** The decoder had too many waiting. */
  | "decoder behind"
  /** It depends on a key frame that is not there. */
  | "waiting for a key frame"
  /** A newer picture was there before the screen's next refresh. */
  | "replaced by a newer one"
  /** The decoder failed while it had them. */
  | "lost with the decoder";

/** A picture that was handed to the screen. */
export interface Paint {
  readonly number: number;
  readonly ptsUs: number;
  /** Of its whole way. */
  readonly times: FrameTimes;
  /** From where its times begin to the screen, in ms; with what the browser does not tell of its own part. */
  readonly totalMs: number;
  /** As `now()` counts. */
  readonly at: number;
  /** For tests: brightness (0 to 255) at the points that were asked for, read from the painted picture. */
  readonly luma?: readonly number[];
}

/** @param times of its whole way; those of the unit among them */
export function paintOf(unit: UnitHead, times: FrameTimes, at: number): Paint {
  const { number, ptsUs, arrivedAt } = unit;
  const before = Object.values(unit.times).reduce((sum, ms) => sum + ms, 0);
  return { number, ptsUs, times, totalMs: before + at - arrivedAt, at };
}

/** A place in the picture, in pixels. */
export interface Point {
  readonly x: number;
  readonly y: number;
}

/** Milliseconds on the clock that page and worker share: each one's performance.now() begins at its own origin. */
export function now(): number {
  return performance.timeOrigin + performance.now();
}
