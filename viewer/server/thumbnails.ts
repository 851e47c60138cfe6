/**
 * Small pictures for the list of sources, while somebody has the list open: what the newest picture of each is decoded
 * from, at once and then as often as it is due; in between every new key unit, which costs least.
 *
 * Sources that nobody watches would have none, so they are started for a moment, one after the other: an encoder for all of
 * them at once is more than a list is worth.
 */
import type { CodecName } from "../../common/codec.ts";
import { VIEWER_LIMITS } from "../../proto/viewer-limits.ts";
import type { OutgoingServerMessage } from "../../proto/viewer-messages.ts";
import type { Hub } from "./hub.ts";
import type { Unit } from "./stream/unit.ts";

/** A viewer that has the list open. */
export interface ThumbnailViewer {
  readonly decodes: ReadonlySet<CodecName>;
  /** Whether it has not yet taken what was sent; then it gets nothing this time. */
  readonly congested: boolean;
  send(message: OutgoingServerMessage): void;
}

/** What a viewer has got last of a source. */
interface Sent {
  readonly key: Unit;
  readonly newest: Unit;
  readonly atMs: number;
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
  readonly #viewers = new Map<ThumbnailViewer, WeakMap<Hub, Sent>>();
  readonly #sampledMs = new WeakMap<Hub, number>();
  #sample: Sample | undefined;
  #tick: NodeJS.Timeout | undefined;
  /** Where to begin, so that a slow viewer gets those at the end, too. */
  #turn = 0;

  constructor(hubs: () => readonly Hub[]) {
    this.#hubs = hubs;
  }

  open(viewer: ThumbnailViewer): void {
    this.#viewers.set(viewer, new WeakMap());
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
      for (const hub of inTurn) {
        if (viewer.congested) break;
        const { newestKey: key } = hub;
        if (key === undefined || !viewer.decodes.has(key.source.codec)) continue;
        const units = lacking(hub, key, sent.get(hub));
        const newest = units.at(-1);
        if (newest === undefined) continue;
        sent.set(hub, { key, newest, atMs: performance.now() });
        const { codec } = key.configuration.description;
        const body = { source: hub.source.id, codec, units: units.map(({ source: { data } }) => data) };
        viewer.send({ type: "thumbnail", body });
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

/** What who has got `sent` of a source is to get; empty where it is not time, or there is nothing newer. */
function lacking(hub: Hub, key: Unit, sent: Sent | undefined): readonly Unit[] {
  const isDue = sent === undefined || performance.now() - sent.atMs >= VIEWER_LIMITS.SAMPLE_INTERVAL_MS;
  if (isDue && hub.picture.length === 0) hub.requestKeyFrame();
  if (isDue && hub.picture.length > 0) return hub.picture.at(-1) === sent?.newest ? [] : hub.picture;
  return key === sent?.key ? [] : [key];
}
