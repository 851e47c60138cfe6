/**
 * What the page measures of the stream it shows. Averages hide stutter, so times are given as p50 and p95 of a second,
 * and arrivals that come in bursts are counted.
 */
import type { DropReason, Paint } from "../player/unit.ts";
import type { StageName } from "./stages.ts";

/** Arrivals closer together than this are one burst: no screen shows them apart. */
const BURST_MS = 8;
const PERIOD_MS = 1000;
/** Paint intervals that are drawn. */
const HISTORY = 120;

export interface Spread {
  readonly p50: number;
  readonly p95: number;
}

/** What arrived, of one access unit. */
export interface Arrival {
  readonly at: number;
  readonly bytes: number;
}

/** A second. Rates are per second, times in ms. */
export interface Snapshot {
  readonly periodMs: number;
  readonly received: number;
  readonly receivedBytes: number;
  readonly decoded: number;
  readonly painted: number;
  /** Without those that a newer one replaced. */
  readonly dropped: number;
  readonly bursts: number;
  readonly kbps: number;
  /** Between two paints. */
  readonly interval: Spread | undefined;
  /** Of the painted frames; stages that nobody measured are absent. */
  readonly stages: Readonly<Partial<Record<StageName, Spread>>>;
  /** Of a painted frame's whole way, as far as it is known. */
  readonly total: Spread | undefined;
  readonly roundTripMs: number | undefined;
  /** Since the stream began. */
  readonly drops: Readonly<Partial<Record<DropReason, number>>>;
  /** The latest intervals between paints, oldest first. */
  readonly intervals: readonly number[];
}

function spread(values: readonly number[]): Spread | undefined {
  if (values.length === 0) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number): number => sorted[Math.ceil(share * sorted.length) - 1] ?? 0;
  return { p50: at(0.5), p95: at(0.95) };
}

export class Statistics {
  #since: number;
  #samples: Partial<Record<StageName, number[]>> = {};
  #totals: number[] = [];
  #intervals: number[] = [];
  #history: number[] = [];
  #drops: Partial<Record<DropReason, number>> = {};
  #counts = { received: 0, receivedBytes: 0, decoded: 0, painted: 0, dropped: 0, bursts: 0 };
  #lastArrival: number | undefined;
  #inBurst = false;
  #lastPaint: number | undefined;
  #roundTripMs: number | undefined;

  constructor(now: number) {
    this.#since = now;
  }

  /** Another stream follows. */
  reset(now: number): void {
    this.#clear(now);
    this.#history = [];
    this.#drops = {};
    this.#lastArrival = undefined;
    this.#lastPaint = undefined;
  }

  arrival({ at, bytes }: Arrival): void {
    this.#counts.received += 1;
    this.#counts.receivedBytes += bytes;
    const close = this.#lastArrival !== undefined && at - this.#lastArrival < BURST_MS;
    if (close && !this.#inBurst) this.#counts.bursts += 1;
    this.#inBurst = close;
    this.#lastArrival = at;
  }

  decoded(): void {
    this.#counts.decoded += 1;
  }

  paint({ at, times, totalMs }: Pick<Paint, "at" | "times" | "totalMs">): void {
    this.#counts.painted += 1;
    if (this.#lastPaint !== undefined) {
      this.#intervals.push(at - this.#lastPaint);
      this.#history = [...this.#history, at - this.#lastPaint].slice(-HISTORY);
    }
    this.#lastPaint = at;
    for (const [name, ms] of Object.entries(times)) this.#sample(name as StageName, ms);
    this.#totals.push(totalMs);
  }

  drop(reason: DropReason, count: number): void {
    // What the screen was too slow for says nothing of line and decoder, which the server asks about.
    if (reason !== "replaced by a newer one") this.#counts.dropped += count;
    this.#drops[reason] = (this.#drops[reason] ?? 0) + count;
  }

  roundTrip(ms: number): void {
    this.#roundTripMs = ms;
  }

  /** Ends the second. */
  take(now: number): Snapshot {
    const periodMs = Math.max(now - this.#since, 1);
    const stages = Object.fromEntries(
      Object.entries(this.#samples).map(([name, values]) => [name, spread(values)]),
    ) as Partial<Record<StageName, Spread>>;
    const snapshot: Snapshot = {
      periodMs,
      ...this.#counts,
      kbps: (this.#counts.receivedBytes * 8) / periodMs,
      interval: spread(this.#intervals),
      stages,
      total: spread(this.#totals),
      roundTripMs: this.#roundTripMs,
      drops: { ...this.#drops },
      intervals: this.#history,
    };
    this.#clear(now);
    return snapshot;
  }

  #clear(now: number): void {
    this.#since = now;
    this.#samples = {};
    this.#totals = [];
    this.#intervals = [];
    this.#counts = { received: 0, receivedBytes: 0, decoded: 0, painted: 0, dropped: 0, bursts: 0 };
  }

  #sample(name: StageName, ms: number): void {
    const samples = this.#samples[name] ?? [];
    samples.push(ms);
    this.#samples[name] = samples;
  }
}

/** How often a second ends. */
export const STATISTICS_PERIOD_MS = PERIOD_MS;
