/** A source that plays a recording at a frame rate, or unit by unit through `send`. */
import type {
  KeyInput,
  PointerInput,
  SourceCursor,
  SourceEvents,
  SourceState,
  SourceStatistics,
  ViewerSource,
} from "../../../viewer/server/source.ts";
import type { Recording } from "./recording.ts";

export interface PlayedSourceOptions {
  readonly id: string;
  readonly recording: Recording;
  /** Absent: units are sent by `send` only. */
  readonly fps?: number;
  readonly vm?: string;
  readonly title?: string;
  readonly kind?: ViewerSource["kind"];
  /** Whether it takes pointer and keyboard. */
  readonly controllable?: boolean;
}

export class PlayedSource implements ViewerSource {
  readonly id: string;
  readonly kind: ViewerSource["kind"];
  readonly vm: string;
  readonly title: string;
  readonly input?: NonNullable<ViewerSource["input"]>;
  readonly pointers: PointerInput[] = [];
  readonly keys: KeyInput[] = [];
  /** Units sent since the start. */
  sent = 0;
  keyFrameRequests = 0;
  readonly recording: Recording;
  readonly #fps: number | undefined;
  #events: SourceEvents | undefined;
  #timer: NodeJS.Timeout | undefined;
  #next = 0;

  constructor(options: PlayedSourceOptions) {
    this.id = options.id;
    this.kind = options.kind ?? "stream";
    this.vm = options.vm ?? "desk";
    this.title = options.title ?? options.id;
    this.recording = options.recording;
    this.#fps = options.fps;
    if (options.controllable === true) {
      this.input = { pointer: (event) => this.pointers.push(event), key: (event) => this.keys.push(event) };
    }
  }

  get running(): boolean {
    return this.#events !== undefined;
  }

  start(events: SourceEvents): void {
    this.#events = events;
    this.#next = 0;
    if (this.#fps !== undefined) this.#timer = setInterval(() => this.send(), 1000 / this.#fps);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#events = undefined;
  }

  /** Skips to the recording's next key frame. */
  requestKeyFrame(): void {
    this.keyFrameRequests += 1;
    const key = this.recording.units.findIndex((unit, index) => index >= this.#next && unit.key);
    if (key !== -1) this.#next = key;
  }

  /** Sends the next unit, optionally with other bytes; nothing at the recording's end. */
  send(data?: Uint8Array): void {
    const unit = this.recording.units[this.#next];
    if (unit === undefined || this.#events === undefined) return;
    const ptsUs = this.#next * 100_000;
    this.#next += 1;
    this.sent += 1;
    this.#events.onAccessUnit({
      codec: this.recording.codec,
      ptsUs,
      key: unit.key,
      stages: { captureUs: 900, queueUs: 150, convertUs: 400, encodeUs: 2300 },
      data: data ?? unit.data,
    });
  }

  report(state: SourceState): void {
    this.#events?.onState(state);
  }

  point(cursor: SourceCursor): void {
    this.#events?.onCursor?.(cursor);
  }

  statistics(): SourceStatistics {
    return { encoder: "libx264", tier: "resource", bitrateKbps: 2000, dropped: { newest: 3 } };
  }
}
