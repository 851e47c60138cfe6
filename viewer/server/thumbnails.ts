/**
 * Thumbnails for viewers that have the list of sources open: the units of each source's newest picture, at once and then
 * every SAMPLE_INTERVAL_MS; in between each new key unit, which is cheapest.
 *
 * Sources without viewers are started briefly for their thumbnail, one after the other, because running all their encoders
 * at once would cost too much.
 */
import { VIEWER_LIMITS } from "../../proto/viewer-limits.ts";
import type { Hub, Watcher } from "./hub.ts";
import type { SourceCatalog } from "./source-catalog.ts";
import type { Unit } from "./stream/unit.ts";

/** A viewer that has the list open; thumbnails are skipped while it is congested. */
type ThumbnailViewer = Pick<Watcher, "decodes" | "congested" | "send">;

/** The last thumbnail that a viewer got of a source. */
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
  readonly #catalog: SourceCatalog;
  /** The viewers that have the list open, with their last thumbnails. */
  readonly #viewers = new Map<ThumbnailViewer, WeakMap<Hub, Sent>>();
  readonly #sampledMs = new WeakMap<Hub, number>();
  #sample: Sample | undefined;
  #tick: NodeJS.Timeout | undefined;
  /** The source to start with, which advances so that a slow viewer gets all sources in turn. */
  #turn = 0;

  constructor(catalog: SourceCatalog) {
    this.#catalog = catalog;
  }

  open(viewer: ThumbnailViewer): void {
    this.#viewers.set(viewer, new WeakMap());
    this.#tick ??= setInterval(() => {
      this.#takeSample();
      this.#send();
    }, VIEWER_LIMITS.TICK_MS);
  }

  close(viewer: ThumbnailViewer): void {
    this.#viewers.delete(viewer);
    if (this.#viewers.size > 0) return;
    clearInterval(this.#tick);
    this.#tick = undefined;
    this.#endSample();
  }

  #send(): void {
    const { hubs } = this.#catalog;
    this.#turn = hubs.length === 0 ? 0 : (this.#turn + 1) % hubs.length;
    const inTurn = [...hubs.slice(this.#turn), ...hubs.slice(0, this.#turn)];
    for (const [viewer, sent] of this.#viewers) {
      for (const hub of inTurn) {
        if (viewer.congested) break;
        const { newestKey: key } = hub;
        if (key === undefined || !viewer.decodes.has(key.source.codec)) continue;
        const units = unitsFor(hub, key, sent.get(hub));
        const newest = units.at(-1);
        if (newest === undefined) continue;
        sent.set(hub, { key, newest, atMs: performance.now() });
        const { codec } = key.configuration.description;
        const body = { source: hub.source.id, codec, units: units.map(({ source: { data } }) => data) };
        viewer.send({ type: "thumbnail", body });
      }
    }
  }

  /** Starts the source whose sample is oldest, and stops it after a key unit or after SAMPLE_MS. */
  #takeSample(): void {
    const now = performance.now();
    const sample = this.#sample;
    if (sample !== undefined && sample.hub.newestKey === sample.before) {
      if (now - sample.sinceMs < VIEWER_LIMITS.SAMPLE_MS) return;
    }
    this.#endSample();
    const sampledMs = (hub: Hub): number => this.#sampledMs.get(hub) ?? Number.NEGATIVE_INFINITY;
    const [oldest] = this.#catalog.hubs
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

/** The units to send to a viewer that has got `sent`; empty if it is too early, or there is nothing newer. */
function unitsFor(hub: Hub, key: Unit, sent: Sent | undefined): readonly Unit[] {
  const isDue = sent === undefined || performance.now() - sent.atMs >= VIEWER_LIMITS.SAMPLE_INTERVAL_MS;
  if (isDue && hub.picture.length === 0) hub.requestKeyFrame();
  if (isDue && hub.picture.length > 0) return hub.picture.at(-1) === sent?.newest ? [] : hub.picture;
  return key === sent?.key ? [] : [key];
}
