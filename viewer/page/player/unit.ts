/** An access unit on its way from the WebSocket to the screen, and what is told of it. Page and worker share this. */

/** What the access units that follow are. */
export interface Configuration {
  /** RFC 6381, from the stream's own parameter sets. */
  readonly codec: string;
  /** Of the picture, in pixels. */
  readonly width: number;
  readonly height: number;
}

export interface Unit {
  /** Counts the source's access units. */
  readonly number: number;
  readonly ptsUs: number;
  readonly key: boolean;
  /** To be decoded and not to be shown. */
  readonly replay: boolean;
  /** When the WebSocket had it, in ms as `now()` counts. */
  readonly arrivedAt: number;
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

/** A picture that was handed to the screen. Durations in ms; undefined where the browser does not tell. */
export interface Paint {
  readonly number: number;
  readonly ptsUs: number;
  /** From the WebSocket to the decoder. */
  readonly queueMs: number | undefined;
  readonly decodeMs: number | undefined;
  /** From the decoder to the screen's refresh. */
  readonly paintMs: number | undefined;
  /** As `now()` counts. */
  readonly at: number;
  /** For tests: brightness (0 to 255) at the points that were asked for, read from the painted picture. */
  readonly luma?: readonly number[];
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
