/**
 * What a viewer can watch: a pipeline of the bridge, a guest's stream that the relay has encoded, a head of a VM.
 *
 * One encode serves all viewers. A source is started when the first of them watches it and stopped when the last has
 * gone; it hands on access units as they come and decides nothing about who gets them.
 */
import type { CodecName } from "../../common/codec.ts";
import type { CursorImage } from "../../proto/export.ts";

/** Where a frame's time went before it came to the server, in microseconds; 0 where it is not known. */
export interface SourceStages {
  readonly captureUs: number;
  readonly queueUs: number;
  readonly convertUs: number;
  readonly encodeUs: number;
}

export interface SourceAccessUnit {
  readonly codec: CodecName;
  readonly ptsUs: number;
  readonly key: boolean;
  readonly stages: SourceStages;
  /** Annex B, parameter sets before every key frame. The server keeps it: nobody may write into it afterwards. */
  readonly data: Uint8Array;
}

/** How a source does, in a sentence for people where there is no picture. */
export type SourceState =
  | { readonly code: "running" | "idle" }
  | { readonly code: "away" | "failed"; readonly text: string };

export interface SourceStatistics {
  readonly encoder: string;
  readonly tier: string;
  readonly bitrateKbps: number;
  /** Frames that were not encoded, by reason. */
  readonly dropped: Readonly<Record<string, number>>;
}

/** A pointer that a display shows above its picture, which the access units do not show. */
export interface SourceCursor {
  /** Of the image's first pixel, in pixels of the picture; it may lie outside. */
  readonly x: number;
  readonly y: number;
  /** Undefined: none is shown. */
  readonly image: CursorImage | undefined;
}

export interface SourceEvents {
  onAccessUnit(unit: SourceAccessUnit): void;
  onState(state: SourceState): void;
  /** As often as it changes; a source begins without one. */
  onCursor?(cursor: SourceCursor): void;
}

/** In 1/65535 of the picture's width and height; `buttons` as MouseEvent.buttons; wheel in notches times 120. */
export interface PointerInput {
  readonly x: number;
  readonly y: number;
  readonly buttons: number;
  readonly wheelX: number;
  readonly wheelY: number;
}

/** By KEY_* of linux/input-event-codes.h. */
export interface KeyInput {
  readonly code: number;
  readonly pressed: boolean;
}

export interface ViewerSource {
  /** Of URLs: letters, digits, dots, dashes, slashes. Unique within a server. */
  readonly id: string;
  readonly kind: "stream" | "head" | "pipeline";
  readonly vm: string;
  readonly title: string;
  /** Begins to deliver, from a key frame on. Called when the first viewer comes. */
  start(events: SourceEvents): void;
  /** Nobody watches: what costs, stops. No event follows. */
  stop(): void;
  /** The next frame is to be a key frame. Calls are throttled by the server. */
  requestKeyFrame(): void;
  /** What the viewers' lines carry. A source that does not encode by itself has none of it. */
  setBitrate?(kbps: number): void;
  statistics(): SourceStatistics;
  /** Absent where pointer and keyboard do not reach the source or are not switched on. */
  readonly input?: { pointer(event: PointerInput): void; key(event: KeyInput): void };
}
