/** A source that delivers a real stream when the test says so. */
import type { CodecName } from "../../../../common/codec.ts";
import type {
  KeyInput,
  PointerInput,
  SourceEvents,
  SourceState,
  SourceStatistics,
  ViewerSource,
} from "../../../../viewer/server/source.ts";
import { type EncodedUnit, encodeUnits } from "./streams.ts";

const GROUP = 10;

/** Four groups of ten frames, 320x180, made once. */
let small: EncodedUnit[] | undefined;
export function smallStream(): EncodedUnit[] {
  small ??= encodeUnits("h264", { width: 320, height: 180, frames: 4 * GROUP, group: GROUP });
  return small;
}

export interface TestSourceOptions {
  readonly id?: string;
  readonly title?: string;
  readonly units?: readonly EncodedUnit[];
  readonly codec?: CodecName;
  readonly input?: boolean;
  /** Called in start(). */
  readonly onStart?: () => void;
}

export class TestSource implements ViewerSource {
  readonly id: string;
  readonly kind = "stream";
  readonly vm = "test";
  readonly title: string;
  readonly input?: NonNullable<ViewerSource["input"]>;
  readonly pointers: PointerInput[] = [];
  readonly keys: KeyInput[] = [];
  readonly bitrates: number[] = [];
  starts = 0;
  stops = 0;
  keyFrameRequests = 0;
  delivered = 0;
  readonly #units: readonly EncodedUnit[];
  readonly #codec: CodecName;
  readonly #onStart: (() => void) | undefined;
  #events: SourceEvents | undefined;
  #next = 0;

  constructor({
    id = "vm/0",
    title = "Test",
    units,
    codec = "h264",
    input,
    onStart,
  }: TestSourceOptions = {}) {
    this.id = id;
    this.title = title;
    this.#units = units ?? smallStream();
    this.#codec = codec;
    this.#onStart = onStart;
    if (input === true) {
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
    return { encoder: "libx264", tier: "resource", bitrateKbps: 4000, dropped: { newer: 3 } };
  }

  say(state: SourceState): void {
    this.#running().onState(state);
  }

  /** Delivers so many units more, one after the other; the stream begins again at its end. */
  deliver(count: number): void {
    for (let i = 0; i < count; i += 1) {
      const unit = this.#units[this.#next % this.#units.length];
      if (unit === undefined) throw new Error("the stream is empty");
      this.#next += 1;
      this.#give(unit);
    }
  }

  /** Goes on with the next key unit, as a source does that is asked for one. */
  deliverKey(): void {
    while (this.#units[this.#next % this.#units.length]?.key !== true) this.#next += 1;
    this.deliver(1);
  }

  /** Delivers bytes of the test's own. */
  deliverBytes(data: Uint8Array, key: boolean): void {
    this.#give({ data: Buffer.from(data), key });
  }

  #give({ key, data }: EncodedUnit): void {
    this.delivered += 1;
    this.#running().onAccessUnit({
      codec: this.#codec,
      ptsUs: this.delivered * 33_333,
      key,
      stages: { captureUs: 1, queueUs: 2, convertUs: 3, encodeUs: 4 },
      data,
    });
  }

  #running(): SourceEvents {
    if (this.#events === undefined) throw new Error("the source has not been started");
    return this.#events;
  }
}
