/** A source that delivers a real stream when the test calls `deliver`. */
import type { CodecName } from "../../../../common/codec.ts";
import { VIEWER_LIMITS } from "../../../../proto/viewer-limits.ts";
import type {
  KeyInput,
  PointerInput,
  SourceCursor,
  SourceEvents,
  SourceState,
  SourceStatistics,
  ViewerSource,
} from "../../../../viewer/server/source.ts";
import { type EncodedUnit, encodeUnits } from "./streams.ts";

/** Between two frames, as at 10 per second. */
export const INTERVAL_US = 100_000;
/** In microseconds. */
export const STAGES = { captureUs: 900, queueUs: 150, convertUs: 400, encodeUs: 2300 };

const GROUP = 10;

/** Four groups of ten frames, 320x180, encoded once. */
let small: EncodedUnit[] | undefined;
export function smallStream(): EncodedUnit[] {
  small ??= encodeUnits("h264", { width: 320, height: 180, frames: 4 * GROUP, group: GROUP });
  return small;
}

/** One group that is too long to be kept for new viewers. */
export function longGroup(): EncodedUnit[] {
  const [key, delta] = smallStream();
  if (key === undefined || delta === undefined) throw new Error("no stream");
  return [key, ...Array<EncodedUnit>(VIEWER_LIMITS.GROUP_UNITS + 5).fill(delta)];
}

export interface TestSourceOptions {
  readonly id?: string;
  readonly title?: string;
  readonly vm?: string;
  readonly kind?: ViewerSource["kind"];
  readonly codec?: CodecName;
  readonly units?: readonly EncodedUnit[];
  /** Whether it takes pointer and keyboard. */
  readonly input?: boolean;
  /** Called in start(). */
  readonly onStart?: () => void;
}

export class TestSource implements ViewerSource {
  readonly id: string;
  readonly kind: ViewerSource["kind"];
  readonly vm: string;
  readonly title: string;
  readonly input?: NonNullable<ViewerSource["input"]>;
  readonly pointers: PointerInput[] = [];
  readonly keys: KeyInput[] = [];
  readonly bitrates: number[] = [];
  starts = 0;
  stops = 0;
  keyFrameRequests = 0;
  /** Units since the source was created. */
  delivered = 0;
  readonly #codec: CodecName;
  readonly #units: readonly EncodedUnit[];
  readonly #onStart: (() => void) | undefined;
  #events: SourceEvents | undefined;
  #next = 0;

  constructor(options: TestSourceOptions = {}) {
    this.id = options.id ?? "vm/0";
    this.title = options.title ?? "Test";
    this.vm = options.vm ?? "test";
    this.kind = options.kind ?? "stream";
    this.#codec = options.codec ?? "h264";
    this.#units = options.units ?? smallStream();
    this.#onStart = options.onStart;
    if (options.input === true) {
      this.input = {
        pointer: (event) => void this.pointers.push(event),
        key: (event) => void this.keys.push(event),
      };
    }
  }

  get running(): boolean {
    return this.#events !== undefined;
  }

  start(events: SourceEvents): void {
    this.starts += 1;
    this.#next = 0;
    this.#onStart?.();
    this.#events = events;
  }

  stop(): void {
    this.stops += 1;
    this.#events = undefined;
  }

  requestKeyFrame(): void {
    this.keyFrameRequests += 1;
  }

  setBitrate(kbps: number): void {
    this.bitrates.push(kbps);
  }

  statistics(): SourceStatistics {
    return { encoder: "libx264", tier: "resource", bitrateKbps: 2000, dropped: { newest: 3 } };
  }

  report(state: SourceState): void {
    this.#running().onState(state);
  }

  point(cursor: SourceCursor): void {
    this.#running().onCursor?.(cursor);
  }

  /** Delivers the next units; after its end the stream starts again. */
  deliver(count: number): void {
    for (let i = 0; i < count; i += 1) {
      const unit = this.#units[this.#next % this.#units.length];
      if (unit === undefined) throw new Error("the stream is empty");
      this.#next += 1;
      this.#deliver(unit);
    }
  }

  /** Delivers the next key unit, as a source does on request. */
  deliverKey(): void {
    this.skipToKey();
    this.deliver(1);
  }

  protected skipToKey(): void {
    while (this.#units[this.#next % this.#units.length]?.key !== true) this.#next += 1;
  }

  /** Delivers other bytes as a unit. */
  deliverBytes(data: Uint8Array, key: boolean): void {
    this.#deliver({ data: Buffer.from(data), key });
  }

  #deliver({ key, data }: EncodedUnit): void {
    this.delivered += 1;
    this.#running().onAccessUnit({
      codec: this.#codec,
      ptsUs: this.delivered * INTERVAL_US,
      key,
      stages: STAGES,
      data,
    });
  }

  #running(): SourceEvents {
    if (this.#events === undefined) throw new Error("the source has not been started");
    return this.#events;
  }
}
