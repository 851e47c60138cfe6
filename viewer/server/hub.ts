/**
 * One source and its viewers. The source is started for the first viewer and stopped after the last; every viewer gets the
 * same access units, each through a queue of its own.
 */
import type { Logger } from "pino";
import type { CodecName } from "../../common/codec.ts";
import { errorText } from "../../common/error-text.ts";
import { VIEWER_LIMITS } from "../../proto/viewer-limits.ts";
import type { OutgoingServerMessage } from "../../proto/viewer-messages.ts";
import * as bitrate from "./bitrate.ts";
import { KeyFrameRequests } from "./key-frame-requests.ts";
import type { SourceMetrics } from "./metrics.ts";
import type { SourceAccessUnit, SourceCursor, SourceState, ViewerSource } from "./source.ts";
import { type WatchState, watchState } from "./source-state.ts";
import { describeStream, StreamDescriptionError } from "./stream/description.ts";
import { Configuration, GroupCache, Unit } from "./stream/unit.ts";
import type { UnitQueue } from "./stream/unit-queue.ts";

/** A viewer, for its hub. */
export interface Watcher {
  readonly decodes: ReadonlySet<CodecName>;
  readonly units: UnitQueue;
  /** Whether too much is waiting in the socket. */
  readonly congested: boolean;
  /** May be called with an unchanged state. */
  showState(state: WatchState): void;
  /** @param cursor undefined, or without an image: no pointer */
  showCursor(cursor: SourceCursor | undefined): void;
  send(message: OutgoingServerMessage): void;
  /** Its report since the last call, if there is one. */
  observe(): bitrate.ViewerObservation | undefined;
}

export interface SourceOptions {
  /** The bit rate starts at the maximum and follows the viewers' connections within this range. Absent: fixed. */
  readonly bitrate?: bitrate.BitrateRange | undefined;
}

export class Hub {
  readonly source: ViewerSource;
  readonly metrics: SourceMetrics;
  readonly #bitrateRange: bitrate.BitrateRange | undefined;
  readonly #log: Logger;
  readonly #watchers = new Set<Watcher>();
  readonly #group = new GroupCache();
  readonly #keyFrames: KeyFrameRequests;
  /** Calls of `hold` that keep the source running. */
  #holds = 0;
  running = false;
  /** Set while the source runs; undefined if it failed to start. */
  #tick: NodeJS.Timeout | undefined;
  #stopping: NodeJS.Timeout | undefined;
  #state: SourceState = { code: "running" };
  #configuration: Configuration | undefined;
  #streamError: string | undefined;
  #codec: CodecName | undefined;
  #lastUnitMs = 0;
  #silent = false;
  /** The last key unit, kept after a stop; undefined if it is too large for a thumbnail. */
  newestKey: Unit | undefined;
  /** The units from which the newest picture is decoded, kept after a stop; empty if they exceed the cache. */
  picture: readonly Unit[] = [];
  #cursor: SourceCursor | undefined;
  #bitrate: bitrate.BitrateState | undefined;
  /** Since the hub was created. */
  #frames = 0;
  #bytes = 0;

  constructor(source: ViewerSource, options: SourceOptions, metrics: SourceMetrics, log: Logger) {
    this.source = source;
    this.metrics = metrics;
    this.#bitrateRange = options.bitrate;
    this.#log = log.child({ source: source.id });
    this.#keyFrames = new KeyFrameRequests(() => {
      metrics.keyFrameRequested();
      source.requestKeyFrame();
    });
  }

  watch(watcher: Watcher): void {
    watcher.units.reset();
    this.#watchers.add(watcher);
    this.metrics.viewerJoined();
    if (this.#configuration !== undefined && this.#decodes(watcher)) {
      const { units } = this.#group;
      if (units.length > 0) watcher.units.replay(units);
      else this.#keyFrames.request();
    }
    this.#update();
    watcher.showCursor(this.#cursor);
    this.#showState(watcher);
  }

  leave(watcher: Watcher): void {
    if (!this.#watchers.delete(watcher)) return;
    this.metrics.viewerLeft();
    watcher.units.reset();
    this.#update();
  }

  /** Keeps the source running until the returned function is called. */
  hold(): () => void {
    this.#holds += 1;
    this.#update();
    return () => {
      this.#holds -= 1;
      this.#update();
    };
  }

  requestKeyFrame(): void {
    if (this.#tick !== undefined) this.#keyFrames.request();
  }

  /** Removes all viewers and stops the source. */
  close(): void {
    for (const watcher of [...this.#watchers]) this.leave(watcher);
    this.#stop();
  }

  /** Starts the source if it is needed, else stops it after the grace period. */
  #update(): void {
    if (this.#watchers.size + this.#holds > 0) {
      clearTimeout(this.#stopping);
      this.#stopping = undefined;
      if (!this.running) this.#start();
    } else if (this.running) {
      this.#stopping ??= setTimeout(() => this.#stop(), VIEWER_LIMITS.STOP_GRACE_MS);
    }
  }

  #start(): void {
    this.running = true;
    this.#state = { code: "running" };
    this.#lastUnitMs = performance.now();
    try {
      this.source.start({
        onAccessUnit: (unit) => this.#onAccessUnit(unit),
        onState: (state) => this.#onState(state),
        onCursor: (cursor) => this.#onCursor(cursor),
      });
    } catch (error) {
      // A faulty source must not end the server; its viewers see the reason.
      this.#log.error(error, "source failed to start");
      this.#state = { code: "failed", text: errorText(error) };
      return;
    }
    this.#log.debug("source started");
    this.#tick = setInterval(() => this.#onTick(), VIEWER_LIMITS.TICK_MS);
    if (this.#bitrateRange !== undefined && this.source.setBitrate !== undefined) {
      this.#bitrate = bitrate.initialBitrate(this.#bitrateRange);
      this.source.setBitrate(this.#bitrate.kbps);
    }
  }

  #stop(): void {
    clearTimeout(this.#stopping);
    this.#stopping = undefined;
    if (!this.running) return;
    this.running = false;
    this.#onCursor(undefined);
    this.#keyFrames.served();
    this.#forget();
    // A source that failed to start has nothing to stop.
    if (this.#tick === undefined) return;
    clearInterval(this.#tick);
    this.#tick = undefined;
    this.source.stop();
    this.#log.debug("source stopped");
  }

  /** Forgets the stream; the next one starts with a key frame. */
  #forget(): void {
    this.#group.clear();
    this.#configuration = undefined;
    this.#streamError = undefined;
    this.#codec = undefined;
    this.#silent = false;
    for (const watcher of this.#watchers) watcher.units.awaitKeyFrame();
  }

  #onAccessUnit(unit: SourceAccessUnit): void {
    if (!this.running) return;
    this.#frames += 1;
    this.#bytes += unit.data.length;
    this.#lastUnitMs = performance.now();
    this.#silent = false;
    if (this.#state.code !== "running") this.#state = { code: "running" };
    if (unit.key) {
      this.#keyFrames.served();
      this.#describe(unit);
    } else if (this.#configuration === undefined) {
      this.#keyFrames.request();
    }
    if (this.#configuration !== undefined) {
      this.#pass(new Unit(this.#frames >>> 0, this.#configuration, unit));
    }
    for (const watcher of this.#watchers) this.#showState(watcher);
  }

  #pass(unit: Unit): void {
    this.#group.push(unit);
    this.picture = this.#group.units;
    if (unit.key) this.newestKey = unit.bytes <= VIEWER_LIMITS.THUMBNAIL_BYTES ? unit : undefined;
    for (const watcher of this.#watchers) if (this.#decodes(watcher)) watcher.units.push(unit);
  }

  /** Updates the configuration for decoders from a key unit. */
  #describe(unit: SourceAccessUnit): void {
    this.#codec = unit.codec;
    this.#streamError = undefined;
    try {
      const description = describeStream(unit.codec, unit.data);
      const { codec, width, height } = this.#configuration?.description ?? {};
      if (codec === description.codec && width === description.width && height === description.height) return;
      this.#configuration = new Configuration(description);
      this.#log.debug(description, "stream described");
    } catch (error) {
      if (!(error instanceof StreamDescriptionError)) throw error;
      this.#forget();
      this.#streamError = error.message;
      this.#log.warn({ reason: error.message }, "invalid stream");
    }
  }

  #onState(state: SourceState): void {
    if (!this.running) return;
    if (state.code !== this.#state.code) this.#log.info(state, "source state");
    this.#state = state;
    if (state.code === "away" || state.code === "failed") this.#forget();
    else this.#lastUnitMs = performance.now();
    for (const watcher of this.#watchers) this.#showState(watcher);
  }

  #onCursor(cursor: SourceCursor | undefined): void {
    this.#cursor = cursor;
    for (const watcher of this.#watchers) watcher.showCursor(cursor);
  }

  #onTick(): void {
    this.#silent = performance.now() - this.#lastUnitMs >= VIEWER_LIMITS.IDLE_MS;
    const { encoder, tier, bitrateKbps, dropped } = this.source.statistics();
    const { size: viewers } = this.#watchers;
    const common = { encoder, tier, bitrateKbps, dropped, viewers, frames: this.#frames, bytes: this.#bytes };
    for (const watcher of this.#watchers) {
      watcher.send({ type: "statistics", body: { ...common, skipped: watcher.units.skipped } });
      this.#showState(watcher);
    }
    this.#adapt();
  }

  #adapt(): void {
    if (this.#bitrate === undefined || this.#bitrateRange === undefined) return;
    const observations = [...this.#watchers].flatMap((watcher) => watcher.observe() ?? []);
    const before = this.#bitrate.kbps;
    this.#bitrate = bitrate.nextBitrate(this.#bitrate, observations, this.#bitrateRange);
    if (this.#bitrate.kbps === before) return;
    this.#log.debug({ kbps: this.#bitrate.kbps }, "bit rate");
    this.source.setBitrate?.(this.#bitrate.kbps);
  }

  /** True before the first unit, when the codec is unknown. */
  #decodes({ decodes }: Watcher): boolean {
    return this.#codec === undefined || decodes.has(this.#codec);
  }

  #showState(watcher: Watcher): void {
    const { decodes, units } = watcher;
    const stream = { streamError: this.#streamError, codec: this.#codec, silent: this.#silent };
    watcher.showState(watchState({ source: this.#state, ...stream, decodes, gap: units.gap }));
  }
}
