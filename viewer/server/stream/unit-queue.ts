/**
 * The access units that wait for one viewer. The socket gets little more than it takes, so that waiting units can still be
 * dropped: a viewer that falls behind skips up to the next key frame, and never delays the others.
 */
import type { WebSocket } from "ws";
import { VIEWER_LIMITS } from "../../../proto/viewer-limits.ts";
import type { Configuration, Unit } from "./unit.ts";

interface Waiting {
  readonly unit: Unit;
  readonly live: boolean;
  readonly replay: boolean;
  readonly sinceMs: number;
}

/** Why no units are sent until the next key frame: at the start or on request, or after units were skipped. */
export type UnitGap = "none" | "start" | "skipped";

export interface UnitQueueEvents {
  /** The viewer has caught up after units were skipped, and needs a key frame to continue. */
  onKeyFrameNeeded(): void;
  onSent(bytes: number): void;
  onSkipped(count: number): void;
}

export class UnitQueue {
  readonly #socket: WebSocket;
  readonly #events: UnitQueueEvents;
  #waiting: Waiting[] = [];
  #bytes = 0;
  /** Units of this source that were skipped because the viewer was slow. */
  skipped = 0;
  #configuration: Configuration | undefined;
  gap: UnitGap = "start";
  #asked = false;

  constructor(socket: WebSocket, events: UnitQueueEvents) {
    this.#socket = socket;
    this.#events = events;
  }

  /** Forgets the waiting units, before another source or none. */
  reset(): void {
    this.#waiting = [];
    this.#bytes = 0;
    this.skipped = 0;
    this.#configuration = undefined;
    this.gap = "start";
  }

  /** Starts with a group of pictures; only its last picture, the current one, is shown. */
  replay(units: readonly Unit[]): void {
    for (const unit of units) this.#enqueue(unit, { live: false, replay: unit !== units.at(-1) });
    this.gap = "none";
    this.#send();
  }

  /** Drops the waiting units: the viewer can only use a key frame. */
  awaitKeyFrame(): void {
    this.#waiting = [];
    this.#bytes = 0;
    if (this.gap === "none") this.gap = "start";
  }

  push(unit: Unit): void {
    if (this.gap !== "none" && !unit.key) {
      if (this.gap === "skipped") this.#skip(1);
      return;
    }
    this.gap = "none";
    this.#enqueue(unit, { live: true, replay: false });
    if (this.#isBehind()) this.#skipToKeyFrame();
    this.#send();
  }

  #enqueue(unit: Unit, flags: { live: boolean; replay: boolean }): void {
    this.#waiting.push({ unit, ...flags, sinceMs: performance.now() });
    this.#bytes += unit.bytes;
  }

  #isBehind(): boolean {
    const [first] = this.#waiting;
    if (first === undefined || this.#waiting.length === 1) return false;
    return (
      this.#bytes > VIEWER_LIMITS.QUEUE_BYTES ||
      this.#waiting.length > VIEWER_LIMITS.QUEUE_UNITS ||
      performance.now() - first.sinceMs > VIEWER_LIMITS.QUEUE_MS
    );
  }

  #skipToKeyFrame(): void {
    const key = this.#waiting.findLastIndex(({ unit }) => unit.key);
    const kept = key > 0 ? this.#waiting.slice(key) : [];
    this.#skip(this.#waiting.length - kept.length);
    this.#waiting = kept;
    this.#bytes = kept.reduce((sum, { unit }) => sum + unit.bytes, 0);
    if (kept.length > 0) return;
    this.gap = "skipped";
    this.#asked = false;
  }

  #skip(count: number): void {
    this.skipped += count;
    this.#events.onSkipped(count);
  }

  /** Sends as much as the socket takes; called again when it has taken more. */
  #send(): void {
    while (this.#canSend()) {
      const next = this.#waiting.shift();
      if (next === undefined) break;
      this.#bytes -= next.unit.bytes;
      this.#sendOne(next);
    }
    // Only a viewer that reads again gets a key frame: one that has stopped must cost the others nothing.
    if (this.gap === "skipped" && !this.#asked && this.#canSend()) {
      this.#asked = true;
      this.#events.onKeyFrameNeeded();
    }
  }

  #canSend(): boolean {
    const { readyState, OPEN, bufferedAmount } = this.#socket;
    return readyState === OPEN && bufferedAmount < VIEWER_LIMITS.SEND_AHEAD_BYTES;
  }

  #sendOne({ unit, live, replay }: Waiting): void {
    if (unit.configuration !== this.#configuration) {
      this.#configuration = unit.configuration;
      this.#socket.send(unit.configuration.message);
    }
    const head = unit.head({ live, replay });
    this.#socket.send(head, { fin: false, binary: true });
    this.#socket.send(unit.source.data, { binary: true }, () => this.#send());
    this.#events.onSent(head.length + unit.bytes);
  }
}
