/**
 * Small pictures for the list of sources: the newest key unit of each, while somebody has the list open.
 *
 * Sources that nobody watches would have none, so they are started for a moment, one after the other: an encoder for all of
 * them at once is more than a list is worth.
 */
import type { CodecName } from "../../host/encoders/encoder.ts";
import { VIEWER_LIMITS } from "../limits.ts";
import type { OutgoingServerMessage } from "../messages.ts";
import type { Hub } from "./hub.ts";
import type { Unit } from "./unit.ts";

/** A viewer that has the list open. */
export interface ThumbnailViewer {
  readonly decodes: ReadonlySet<CodecName>;
  /** Whether it has not yet taken what was sent; then it gets nothing this time. */
  readonly congested: boolean;
  send(message: OutgoingServerMessage): void;
}

interface Sample {
  readonly hub: Hub;
  readonly before: Unit | undefined;
  readonly sinceMs: number;
  release(): void;
}

export class Thumbnails {
  readonly #hubs: () => readonly Hub[];
  /** Who has the list open, and what each has got. */
  readonly #viewers = new Map<ThumbnailViewer, WeakSet<Unit>>();
  readonly #sampledMs = new WeakMap<Hub, number>();
  #sample: Sample | undefined;
  #tick: NodeJS.Timeout | undefined;
  /** Where to begin, so that a slow viewer gets those at the end, too. */
  #turn = 0;

  constructor(hubs: () => readonly Hub[]) {
    this.#hubs = hubs;
  }

  open(viewer: ThumbnailViewer): void {
    this.#viewers.set(viewer, new WeakSet());
    this.#tick ??= setInterval(() => this.#onTick(), VIEWER_LIMITS.TICK_MS);
  }

  close(viewer: ThumbnailViewer): void {
    this.#viewers.delete(viewer);
    if (this.#viewers.size > 0) return;
    clearInterval(this.#tick);
    this.#tick = undefined;
    this.#endSample();
  }

  #onTick(): void {
    this.#takeSample();
    this.#send();
  }

  #send(): void {
    const hubs = this.#hubs();
    this.#turn = hubs.length === 0 ? 0 : (this.#turn + 1) % hubs.length;
    const inTurn = [...hubs.slice(this.#turn), ...hubs.slice(0, this.#turn)];
    for (const [viewer, sent] of this.#viewers) {
      for (const { source, newestKey: unit } of inTurn) {
        if (viewer.congested) break;
        if (unit === undefined || sent.has(unit) || !viewer.decodes.has(unit.source.codec)) continue;
        sent.add(unit);
        const { codec } = unit.configuration.description;
        viewer.send({ type: "thumbnail", body: { source: source.id, codec, data: unit.source.data } });
      }
    }
  }

  /** Starts the source whose picture is oldest, and stops it when a key unit has come or none comes. */
  #takeSample(): void {
    const now = performance.now();
    const { hub, before, sinceMs } = this.#sample ?? {};
    if (hub !== undefined && sinceMs !== undefined) {
      if (hub.newestKey === before && now - sinceMs < VIEWER_LIMITS.SAMPLE_MS) return;
      this.#endSample();
    }
    const sampledMs = (hub: Hub): number => this.#sampledMs.get(hub) ?? Number.NEGATIVE_INFINITY;
    const [oldest] = this.#hubs()
      .filter((hub) => !hub.running && now - sampledMs(hub) >= VIEWER_LIMITS.SAMPLE_INTERVAL_MS)
      .sort((a, b) => sampledMs(a) - sampledMs(b));
    if (oldest === undefined) return;
    this.#sampledMs.set(oldest, now);
    this.#sample = { hub: oldest, before: oldest.newestKey, sinceMs: now, release: oldest.hold() };
  }

  #endSample(): void {
    this.#sample?.release();
    this.#sample = undefined;
  }
}
