/**
 * The order in which a stream tries the encoders, and when it leaves one.
 *
 * A stream leaves an encoder that fails at its first frames, or three times within a minute; after any other failure it
 * opens the same encoder again. An encoder that a stream has left is passed over by new streams: for ten seconds, and for
 * twice as long each time that it disappoints again, up to ten minutes. One whose driver hangs is passed over for ten minutes
 * at once, because each attempt costs a thread. One that had no room for a session is passed over for a second. Passed over
 * means tried last, so that a host with one encoder uses that one.
 */
import type { EncoderBackend } from "./encoder.ts";

/** Access units after which a failure is no failure at the first frames. */
const FIRST_FRAMES = 3;
const MOST_FAILURES = 3;
const FAILURES_WITHIN_MS = 60_000;
const FIRST_PAUSE_MS = 10_000;
const LAST_PAUSE_MS = 600_000;
const FULL_PAUSE_MS = 1000;

export interface OrderOptions {
  /** Called when new streams begin to pass an encoder over. */
  readonly onPassedOver?: (encoder: string, reason: string, pauseMs: number) => void;
  /** Milliseconds of a monotonic clock. */
  readonly now?: () => number;
}

interface Pause {
  readonly ms: number;
  readonly untilMs: number;
}

export class EncoderOrder {
  readonly #backends: readonly EncoderBackend[];
  readonly #onPassedOver: NonNullable<OrderOptions["onPassedOver"]>;
  readonly #now: () => number;
  /** Of encoders that a stream has left; it stays after its end, for the length of the next. */
  readonly #pauses = new Map<EncoderBackend, Pause>();
  readonly #fullUntilMs = new Map<EncoderBackend, number>();

  /** @param backends best first */
  constructor(backends: readonly EncoderBackend[], options: OrderOptions = {}) {
    this.#backends = backends;
    this.#onPassedOver = options.onPassedOver ?? (() => undefined);
    this.#now = options.now ?? (() => performance.now());
  }

  /** All encoders, in the order in which a stream tries them. */
  get encoders(): readonly EncoderBackend[] {
    const now = this.#now();
    const waits = (backend: EncoderBackend): boolean =>
      now < (this.#pauses.get(backend)?.untilMs ?? now) || now < (this.#fullUntilMs.get(backend) ?? now);
    return [
      ...this.#backends.filter((backend) => !waits(backend)),
      ...this.#backends.filter((backend) => waits(backend)),
    ];
  }

  /** The encoder had no room for another session. */
  full(backend: EncoderBackend): void {
    this.#fullUntilMs.set(backend, this.#now() + FULL_PAUSE_MS);
  }

  /** The encoder's driver does not answer. */
  hung(backend: EncoderBackend, reason: string): void {
    this.#left(backend, reason, LAST_PAUSE_MS);
  }

  /** A stream begins to use the encoder. */
  trial(backend: EncoderBackend): EncoderTrial {
    return new EncoderTrial(this.#now, (reason) => this.#left(backend, reason, FIRST_PAUSE_MS));
  }

  #left(backend: EncoderBackend, reason: string, leastMs: number): void {
    const now = this.#now();
    const last = this.#pauses.get(backend);
    // The encoder's other streams leave it too.
    if (last !== undefined && now < last.untilMs && last.ms >= leastMs) return;
    const isRecent = last !== undefined && now < last.untilMs + LAST_PAUSE_MS;
    const ms = Math.max(isRecent ? Math.min(2 * last.ms, LAST_PAUSE_MS) : 0, leastMs);
    this.#pauses.set(backend, { ms, untilMs: now + ms });
    this.#onPassedOver(backend.name, reason, ms);
  }
}

/** What one stream has experienced with one encoder, over all its sessions. */
export class EncoderTrial {
  readonly #now: () => number;
  readonly #leave: (reason: string) => void;
  /** Of the open session. */
  #packets = 0;
  #failuresMs: readonly number[] = [];

  constructor(now: () => number, leave: (reason: string) => void) {
    this.#now = now;
    this.#leave = leave;
  }

  /** The encoder has returned an access unit. */
  packet(): void {
    this.#packets += 1;
  }

  /** The session has failed. @returns whether the stream shall open the same encoder again */
  failed(reason: string): boolean {
    const now = this.#now();
    const recent = this.#failuresMs.filter((ms) => now - ms < FAILURES_WITHIN_MS);
    this.#failuresMs = [...recent, now];
    const isWorking = this.#packets >= FIRST_FRAMES;
    this.#packets = 0;
    if (isWorking && this.#failuresMs.length < MOST_FAILURES) return true;
    this.#leave(reason);
    return false;
  }
}
