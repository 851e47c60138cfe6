/**
 * One source and all who watch it: it is started for the first and stopped after the last, and every viewer gets the same
 * access units. How fast one takes them is the matter of its own queue.
 */

import type { Logger } from "pino";
import type { CodecName } from "../../common/codec.ts";
import { errorText } from "../../common/error-text.ts";
import { VIEWER_LIMITS } from "../../proto/viewer-limits.ts";
import type { OutgoingServerMessage } from "../../proto/viewer-messages.ts";
import {
  type BitrateRange,
  type BitrateState,
  initialBitrate,
  nextBitrate,
  type ViewerObservation,
} from "./bitrate.ts";
import { KeyFrameRequests } from "./key-frame-requests.ts";
import type { SourceMetrics } from "./metrics.ts";
import type { SourceAccessUnit, SourceCursor, SourceState, ViewerSource } from "./source.ts";
import { type WatchState, watchState } from "./source-state.ts";
import { describeStream, StreamDescriptionError } from "./stream/description.ts";
import { GroupCache } from "./stream/group-cache.ts";
import { Configuration, Unit } from "./stream/unit.ts";
import type { UnitQueue } from "./stream/unit-queue.ts";

/** A viewer as its hub sees it. */
export interface Watcher {
  readonly decodes: ReadonlySet<CodecName>;
  readonly units: UnitQueue;
  /** May be told the same twice. */
  showState(state: WatchState): void;
  /** The newest is what counts; without an image, or undefined, there is none. */
  showCursor(cursor: SourceCursor | undefined): void;
  send(message: OutgoingServerMessage): void;
  /** How it fared since it was last asked; undefined if it has not reported. */
  observe(): ViewerObservation | undefined;
}

export interface SourceOptions {
  /** Within these the bit rate follows what the viewers' lines carry, from the highest on. Without it, it is left alone. */
  readonly bitrate?: BitrateRange | undefined;
}

export class Hub {
  readonly source: ViewerSource;
  readonly metrics: SourceMetrics;
  readonly #bitrateRange: BitrateRange | undefined;
  readonly #log: Logger;
  readonly #watchers = new Set<Watcher>();
  readonly #group = new GroupCache();
  readonly #keyFrames: KeyFrameRequests;
  /** Those who keep the source running without watching it. */
  #holds = 0;
  #running = false;
  /** While the source runs; undefined, too, where it could not be started. */
  #tick: NodeJS.Timeout | undefined;
  #stopping: NodeJS.Timeout | undefined;
  #state: SourceState = { code: "running" };
  #configuration: Configuration | undefined;
  #undescribed: string | undefined;
  #codec: CodecName | undefined;
  #lastUnitMs = 0;
  #silent = false;
  #newestKey: Unit | undefined;
  #picture: readonly Unit[] = [];
  #cursor: SourceCursor | undefined;
  #bitrate: BitrateState | undefined;
  /** Since the hub was made. */
  #frames = 0;
  #bytes = 0;

  constructor(source: ViewerSource, { bitrate }: SourceOptions, metrics: SourceMetrics, log: Logger) {
    this.source = source;
    this.metrics = metrics;
    this.#bitrateRange = bitrate;
    this.#log = log.child({ source: source.id });
    this.#keyFrames = new KeyFrameRequests(() => {
      metrics.keyFrameRequested();
      source.requestKeyFrame();
    });
  }

  get running(): boolean {
    return this.#running;
  }

  /** The last key unit, also of a source that has been stopped since; none that is too large for a thumbnail. */
  get newestKey(): Unit | undefined {
    return this.#newestKey;
  }

  /**
   * What the newest picture is decoded from, also of a source that has been stopped since; empty where that has become
   * more than is kept.
   */
  get picture(): readonly Unit[] {
    return this.#picture;
  }

  watch(watcher: Watcher): void {
    watcher.units.reset();
    this.#watchers.add(watcher);
    this.metrics.viewerCame();
    if (this.#running) this.#join(watcher);
    this.#update();
    watcher.showCursor(this.#cursor);
    this.#tell(watcher);
  }

  /** Brings a viewer to where the stream is. */
  #join(watcher: Watcher): void {
    if (this.#configuration === undefined || !this.#decodes(watcher)) return;
    const group = this.#group.units;
    if (group.length > 0) watcher.units.replay(group);
    else this.#keyFrames.ask();
  }

  leave(watcher: Watcher): void {
    if (!this.#watchers.delete(watcher)) return;
    this.metrics.viewerLeft();
    watcher.units.reset();
    this.#update();
  }

  /** Keeps the source running until the result is called. */
  hold(): () => void {
    this.#holds += 1;
    this.#update();
    return () => {
      this.#holds -= 1;
      this.#update();
    };
  }

  requestKeyFrame(): void {
    if (this.#tick !== undefined) this.#keyFrames.ask();
  }

  /** The source is taken away; whoever watches it is told elsewhere. */
  close(): void {
    for (const watcher of [...this.#watchers]) this.leave(watcher);
    this.#stop();
  }

  /** Starts or stops the source as it is needed. */
  #update(): void {
    const needed = this.#watchers.size + this.#holds > 0;
    if (needed) {
      clearTimeout(this.#stopping);
      this.#stopping = undefined;
      if (!this.#running) this.#start();
    } else if (this.#running) {
      this.#stopping ??= setTimeout(() => this.#stop(), VIEWER_LIMITS.STOP_GRACE_MS);
    }
  }

  #start(): void {
    this.#running = true;
    this.#state = { code: "running" };
    this.#lastUnitMs = performance.now();
    try {
      this.source.start({
        onAccessUnit: (unit) => this.#onAccessUnit(unit),
        onState: (state) => this.#onState(state),
        onCursor: (cursor) => this.#onCursor(cursor),
      });
    } catch (error) {
      // What is wrong with one source must not end the server of all; its viewers read why there is no picture.
      this.#log.error(error, "the source does not start");
      this.#state = { code: "failed", text: errorText(error) };
      return;
    }
    this.#log.debug("source started");
    this.#tick = setInterval(() => this.#onTick(), VIEWER_LIMITS.TICK_MS);
    if (this.#bitrateRange !== undefined && this.source.setBitrate !== undefined) {
      this.#bitrate = initialBitrate(this.#bitrateRange);
      this.source.setBitrate(this.#bitrate.kbps);
    }
  }

  #stop(): void {
    clearTimeout(this.#stopping);
    this.#stopping = undefined;
    if (!this.#running) return;
    this.#running = false;
    this.#onCursor(undefined);
    this.#keyFrames.served();
    this.#forget();
    // One that did not start has nothing to stop.
    if (this.#tick === undefined) return;
    clearInterval(this.#tick);
    this.#tick = undefined;
    this.source.stop();
    this.#log.debug("source stopped");
  }

  /** What comes next has nothing to do with what was there: it begins with a key frame. */
  #forget(): void {
    this.#group.clear();
    this.#configuration = undefined;
    this.#undescribed = undefined;
    this.#codec = undefined;
    this.#silent = false;
    for (const watcher of this.#watchers) watcher.units.awaitKeyFrame();
  }

  #onAccessUnit(unit: SourceAccessUnit): void {
    if (!this.#running) return;
    this.#frames += 1;
    this.#bytes += unit.data.length;
    this.#lastUnitMs = performance.now();
    this.#silent = false;
    if (this.#state.code !== "running") this.#state = { code: "running" };
    if (unit.key) {
      this.#keyFrames.served();
      this.#describe(unit);
    } else if (this.#configuration === undefined) {
      this.#keyFrames.ask();
    }
    if (this.#configuration !== undefined)
      this.#pass(new Unit(this.#frames >>> 0, this.#configuration, unit));
    for (const watcher of this.#watchers) this.#tell(watcher);
  }

  #pass(unit: Unit): void {
    this.#group.push(unit);
    this.#picture = this.#group.units;
    if (unit.key) this.#newestKey = unit.bytes <= VIEWER_LIMITS.THUMBNAIL_BYTES ? unit : undefined;
    for (const watcher of this.#watchers) {
      if (this.#decodes(watcher)) watcher.units.push(unit);
    }
  }

  /** What decoders must be told from this key unit on. */
  #describe(unit: SourceAccessUnit): void {
    this.#codec = unit.codec;
    this.#undescribed = undefined;
    try {
      const description = describeStream(unit.codec, unit.data);
      const { codec, width, height } = this.#configuration?.description ?? {};
      if (codec === description.codec && width === description.width && height === description.height) return;
      this.#configuration = new Configuration(description);
      this.#log.debug(description, "the stream is");
    } catch (error) {
      if (!(error instanceof StreamDescriptionError)) throw error;
      this.#forget();
      this.#undescribed = error.message;
      this.#log.warn({ reason: error.message }, "the stream cannot be described");
    }
  }

  #onState(state: SourceState): void {
    if (!this.#running) return;
    if (state.code !== this.#state.code) this.#log.info(state, "the source says");
    this.#state = state;
    if (state.code === "away" || state.code === "failed") this.#forget();
    else this.#lastUnitMs = performance.now();
    for (const watcher of this.#watchers) this.#tell(watcher);
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
      this.#tell(watcher);
    }
    this.#adapt();
  }

  #adapt(): void {
    if (this.#bitrate === undefined || this.#bitrateRange === undefined) return;
    const observations = [...this.#watchers]
      .map((watcher) => watcher.observe())
      .filter((observation) => observation !== undefined);
    const before = this.#bitrate.kbps;
    this.#bitrate = nextBitrate(this.#bitrate, observations, this.#bitrateRange);
    if (this.#bitrate.kbps === before) return;
    this.#log.debug({ kbps: this.#bitrate.kbps }, "bit rate");
    this.source.setBitrate?.(this.#bitrate.kbps);
  }

  /** Before the first unit nobody knows, so nobody is left out. */
  #decodes({ decodes }: Watcher): boolean {
    return this.#codec === undefined || decodes.has(this.#codec);
  }

  #tell(watcher: Watcher): void {
    watcher.showState(
      watchState({
        source: this.#state,
        undescribed: this.#undescribed,
        codec: this.#codec,
        silent: this.#silent,
        decodes: watcher.decodes,
        gap: watcher.units.gap,
      }),
    );
  }
}
