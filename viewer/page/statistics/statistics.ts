/**
 * Measures the stream that the page shows. Averages hide stutter, so times are given as p50 and p95 of a second, and
 * bursts of arrivals are counted.
 */
import type { DropReason, Paint } from "../player/unit.ts";
import type { StageName } from "./stages.ts";

/** Arrivals closer together than this are one burst. */
const BURST_MS = 8;
/** Length of the "second" that a Snapshot covers. */
export const STATISTICS_PERIOD_MS = 1000;
/** Paint intervals that are drawn. */
const HISTORY = 120;

export interface Spread {
  readonly p50: number;
  readonly p95: number;
}

/** One second. Times are in ms. */
export interface Snapshot {
  readonly periodMs: number;
  readonly received: number;
  readonly receivedBytes: number;
  readonly decoded: number;
  readonly painted: number;
  /** Without frames that a newer one replaced. */
  readonly dropped: number;
  readonly bursts: number;
  readonly kbps: number;
  /** Between two paints. */
  readonly interval: Spread | undefined;
  /** Of the painted frames; stages that were not measured are absent. */
  readonly stages: Readonly<Partial<Record<StageName, Spread>>>;
  /** From the first known stage of a painted frame to its paint. */
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

/** What is measured in one second. */
class Second {
  readonly samples: Partial<Record<StageName, number[]>> = {};
  readonly totals: number[] = [];
  readonly intervals: number[] = [];
  readonly counts = { received: 0, receivedBytes: 0, decoded: 0, painted: 0, dropped: 0, bursts: 0 };
  readonly since: number;

  constructor(since: number) {
    this.since = since;
  }
}

export class Statistics {
  #second: Second;
  #history: number[] = [];
  #drops: Partial<Record<DropReason, number>> = {};
  #lastArrival: number | undefined;
  #inBurst = false;
  #lastPaint: number | undefined;
  #roundTripMs: number | undefined;

  constructor(now: number) {
    this.#second = new Second(now);
  }

  /** Starts again, for another stream. */
  reset(now: number): void {
    this.#second = new Second(now);
    this.#history = [];
    this.#drops = {};
    this.#lastArrival = undefined;
    this.#lastPaint = undefined;
  }

  /** An access unit was received. */
  arrival(at: number, bytes: number): void {
    const { counts } = this.#second;
    counts.received += 1;
    counts.receivedBytes += bytes;
    const close = this.#lastArrival !== undefined && at - this.#lastArrival < BURST_MS;
    if (close && !this.#inBurst) counts.bursts += 1;
    this.#inBurst = close;
    this.#lastArrival = at;
  }

  decoded(): void {
    this.#second.counts.decoded += 1;
  }

  paint({ at, times, totalMs }: Pick<Paint, "at" | "times" | "totalMs">): void {
    const { counts, intervals, samples, totals } = this.#second;
    counts.painted += 1;
    if (this.#lastPaint !== undefined) {
      intervals.push(at - this.#lastPaint);
      this.#history = [...this.#history, at - this.#lastPaint].slice(-HISTORY);
    }
    this.#lastPaint = at;
    for (const [name, ms] of Object.entries(times) as [StageName, number][]) {
      samples[name] = [...(samples[name] ?? []), ms];
    }
    totals.push(totalMs);
  }

  drop(reason: DropReason, count: number): void {
    // A frame that the screen was too slow for says nothing about connection and decoder, which the report is about.
    if (reason !== "replaced by a newer one") this.#second.counts.dropped += count;
    this.#drops[reason] = (this.#drops[reason] ?? 0) + count;
  }

  roundTrip(ms: number): void {
    this.#roundTripMs = ms;
  }

  /** Ends the second and returns it. */
  take(now: number): Snapshot {
    const { samples, totals, intervals, counts, since } = this.#second;
    this.#second = new Second(now);
    const periodMs = Math.max(now - since, 1);
    return {
      periodMs,
      ...counts,
      kbps: (counts.receivedBytes * 8) / periodMs,
      interval: spread(intervals),
      stages: Object.fromEntries(Object.entries(samples).map(([name, values]) => [name, spread(values)])),
      total: spread(totals),
      roundTripMs: this.#roundTripMs,
      drops: { ...this.#drops },
      intervals: this.#history,
    };
  }
}
