/** An access unit between the WebSocket and the screen, and its reports. Page and worker share this. */
import type { FrameTimes } from "../statistics/stages.ts";

/** Describes the access units that follow. */
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
  /** To be decoded but not shown. */
  readonly replay: boolean;
  /** When the WebSocket received it, in ms of `now()`. */
  readonly arrivedAt: number;
  /** Durations until then. */
  readonly times: FrameTimes;
}

export interface Unit extends UnitHead {
  /** Annex B. */
  readonly data: Uint8Array<ArrayBuffer>;
}

/** Why a received access unit was not painted. */
export type DropReason =
  /** Too many units waited for the decoder. */
  | "decoder behind"
  /** The key frame that it depends on is missing. */
  | "waiting for a key frame"
  /** A newer picture was decoded before the screen's next refresh. */
  | "replaced by a newer one"
  /** The decoder failed while it held the unit. */
  | "lost with the decoder";

/** A painted picture. */
export interface Paint {
  readonly number: number;
  readonly ptsUs: number;
  /** Durations of all stages. */
  readonly times: FrameTimes;
  /** From the first known stage to the screen, in ms, including stages that the browser does not report. */
  readonly totalMs: number;
  /** In ms of `now()`. */
  readonly at: number;
  /** For tests: the painted picture's brightness (0 to 255) at the requested points. */
  readonly luma?: readonly number[];
}

/** @param times of all stages, the unit's own included */
export function paintOf(unit: UnitHead, times: FrameTimes, at: number): Paint {
  const { number, ptsUs, arrivedAt } = unit;
  const before = Object.values(unit.times).reduce((sum, ms) => sum + ms, 0);
  return { number, ptsUs, times, totalMs: before + at - arrivedAt, at };
}

/** A position in the picture, in pixels. */
export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface PlayerEvents {
  onDecoded(queueLength: number): void;
  onPaint(paint: Paint): void;
  onDrop(reason: DropReason, count: number): void;
  onKeyFrameNeeded(): void;
  /** The decoder gave up; the text is a sentence for the user. It starts again at the next configuration. */
  onFailure(text: string): void;
  /** How it decodes, e.g. "WebCodecs" or "WebCodecs, in software". */
  onDecoder(name: string): void;
}

/** The part of a player that may run in a worker. */
export interface PlayerCommands {
  configure(configuration: Configuration): void;
  /** Takes over the unit's memory; the caller must not use it afterwards. */
  decode(unit: Unit): void;
  /** Forgets the stream and clears the picture, before another source. */
  reset(): void;
  /** Adds the brightness at these points to every later Paint. */
  probe(points: readonly Point[]): void;
}

/** Milliseconds on a clock that page and worker share; performance.now() alone starts at a different origin in each. */
export function now(): number {
  return performance.timeOrigin + performance.now();
}
