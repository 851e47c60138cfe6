/**
 * The interface of a source that viewers can watch: a pipeline of the bridge, a guest's stream that the relay has encoded,
 * or a head of a VM.
 *
 * One encode serves all viewers. A source is started for the first viewer and stopped after the last one; the server
 * decides which viewers get its access units.
 */
import type { CodecName } from "../../common/codec.ts";
import type { CursorImage } from "../../proto/export.ts";

/** A source was rejected; the message gives the reason. */
export class ViewerSourceError extends Error {
  override readonly name = "ViewerSourceError";
}

/** Durations of a frame's stages before the server, in microseconds; 0 where unknown. */
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
  /** Annex B, parameter sets before every key frame. The server keeps it; it must not be written to afterwards. */
  readonly data: Uint8Array;
}

/** `text` is a sentence for the user. */
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

/** The pointer of a display whose access units do not contain it. */
export interface SourceCursor {
  /** Position of the image's first pixel, in pixels of the picture; may be outside it. */
  readonly x: number;
  readonly y: number;
  /** Undefined: no pointer is shown. */
  readonly image: CursorImage | undefined;
}

export interface SourceEvents {
  onAccessUnit(unit: SourceAccessUnit): void;
  onState(state: SourceState): void;
  /** Called at every change; a source starts without a pointer. */
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

/** `code` is a KEY_* of linux/input-event-codes.h. */
export interface KeyInput {
  readonly code: number;
  readonly pressed: boolean;
}

export interface ViewerSource {
  /** Unique within a server; letters, digits, dots, dashes, underscores, slashes, for use in URLs. */
  readonly id: string;
  readonly kind: "stream" | "head" | "pipeline";
  readonly vm: string;
  readonly title: string;
  /** Starts to deliver, with a key frame first. Called for the first viewer. */
  start(events: SourceEvents): void;
  /** Stops all work. No event may follow. Called after the last viewer. */
  stop(): void;
  /** Requests a key frame as the next frame. The server throttles the calls. */
  requestKeyFrame(): void;
  /** Absent for a source that does not encode itself. */
  setBitrate?(kbps: number): void;
  statistics(): SourceStatistics;
  /** Absent where the source takes no pointer and keyboard. */
  readonly input?: { pointer(event: PointerInput): void; key(event: KeyInput): void };
}
