/**
 * Shows H.264 through Media Source Extensions, which browsers offer over plain HTTP as well. A <video> element lags a few
 * frames more than WebCodecs; whenever it falls behind, it jumps to the newest picture.
 */
import { errorText } from "../../../../common/error-text.ts";
import {
  type Configuration,
  now,
  type PlayerEvents,
  type Point,
  paintOf,
  type Unit,
  type UnitHead,
} from "../unit.ts";
import type { Player } from "../webcodecs.ts";
import { NAL_PPS, NAL_SPS, nalType, splitNalUnits, toSample } from "./annexb.ts";
import { fragment, initialization } from "./fmp4.ts";

/** The element jumps forward when it is behind the newest picture by more than this. */
const MAX_LAG_S = 0.3;
/** Older pictures are removed from the browser's buffer. */
const KEPT_S = 10;
/** Pictures can be removed only up to a key frame, so one is requested at this interval. */
const KEY_INTERVAL_MS = 20_000;
/** Of one picture on the element's time line, which has neither gaps nor pauses. */
const DURATION_US = { first: 33_333, least: 1000, most: 100_000 };
/** With more appends waiting for the browser, units are dropped up to the next key frame. */
const MAX_QUEUED = 60;

/** Whether this browser has Media Source Extensions with H.264. */
export function hasMse(): boolean {
  return "MediaSource" in window && MediaSource.isTypeSupported('video/mp4; codecs="avc1.64002A"');
}

export class MsePlayer implements Player {
  readonly element = document.createElement("video");
  readonly codecs = ["h264"] as const;
  readonly #events: PlayerEvents;
  #stream: Stream | undefined;
  #points: readonly Point[] = [];
  #painted: Appended | undefined;

  constructor(events: PlayerEvents) {
    this.#events = events;
    this.element.muted = true;
    this.element.playsInline = true;
    this.element.autoplay = true;
    this.#watchPaints();
  }

  configure(configuration: Configuration): void {
    this.reset();
    const mime = `video/mp4; codecs="${configuration.codec}"`;
    if (!MediaSource.isTypeSupported(mime)) {
      this.#events.onFailure(`This browser cannot decode ${configuration.codec} over plain HTTP.`);
      return;
    }
    this.#events.onDecoder(`Media Source Extensions${window.isSecureContext ? "" : " (plain HTTP)"}`);
    this.#stream = new Stream(this.element, mime, configuration, this.#events);
  }

  decode(unit: Unit): void {
    this.#stream?.push(unit);
  }

  reset(): void {
    this.#stream?.close();
    this.#stream = undefined;
    this.element.removeAttribute("src");
    this.element.load();
  }

  probe(points: readonly Point[]): void {
    this.#points = points;
  }

  #watchPaints(): void {
    this.element.requestVideoFrameCallback((_now, { mediaTime, processingDuration }) => {
      const unit = this.#stream?.unitAt(mediaTime);
      // After a jump the same picture may be presented again.
      if (unit !== undefined && !unit.replay && unit !== this.#painted) {
        this.#painted = unit;
        const decode = processingDuration === undefined ? {} : { decode: processingDuration * 1000 };
        const paint = paintOf(unit, { ...unit.times, ...decode }, now());
        const luma = this.#points.length > 0 ? readElementLuma(this.element, this.#points) : undefined;
        this.#events.onPaint(luma === undefined ? paint : { ...paint, luma });
      }
      this.#watchPaints();
    });
  }
}

type Appended = UnitHead & { readonly timeUs: number };

/** One MediaSource, for one configuration. */
class Stream {
  readonly #video: HTMLVideoElement;
  readonly #configuration: Configuration;
  readonly #events: PlayerEvents;
  readonly #mime: string;
  readonly #source = new MediaSource();
  readonly #url: string;
  #buffer: SourceBuffer | undefined;
  readonly #queue: Uint8Array<ArrayBuffer>[] = [];
  #appended: Appended[] = [];
  #sequence = 0;
  #timeUs = 0;
  #durationUs = DURATION_US.first;
  #lastPtsUs: number | undefined;
  #keyAt = 0;
  #needsKey = true;
  #closed = false;

  constructor(video: HTMLVideoElement, mime: string, configuration: Configuration, events: PlayerEvents) {
    this.#video = video;
    this.#mime = mime;
    this.#configuration = configuration;
    this.#events = events;
    this.#url = URL.createObjectURL(this.#source);
    this.#source.addEventListener("sourceopen", () => this.#open(), { once: true });
    video.addEventListener("error", this.#onError);
    video.src = this.#url;
  }

  close(): void {
    this.#closed = true;
    this.#video.removeEventListener("error", this.#onError);
    URL.revokeObjectURL(this.#url);
  }

  /** The unit that is shown at this time of the element, in seconds. */
  unitAt(mediaTime: number): Appended | undefined {
    const timeUs = Math.round(mediaTime * 1e6);
    const index = this.#appended.findLastIndex((unit) => unit.timeUs <= timeUs + 1);
    const unit = this.#appended[index];
    this.#appended = this.#appended.slice(Math.max(index, 0));
    return unit;
  }

  push({ data, ...unit }: Unit): void {
    if (!unit.key && (this.#needsKey || this.#queue.length > MAX_QUEUED)) {
      this.#events.onDrop(this.#needsKey ? "waiting for a key frame" : "decoder behind", 1);
      this.#needsKey = true;
      this.#events.onKeyFrameNeeded();
      return;
    }
    const nalUnits = splitNalUnits(data);
    if (unit.key) this.#begin(nalUnits);
    if (now() - this.#keyAt > KEY_INTERVAL_MS) this.#events.onKeyFrameNeeded();
    this.#advance(unit.ptsUs);
    const [timeUs, durationUs, sequence] = [this.#timeUs, this.#durationUs, ++this.#sequence];
    this.#appended.push({ ...unit, timeUs });
    this.#queue.push(fragment({ sequence, timeUs, durationUs, key: unit.key, data: toSample(nalUnits) }));
    this.#events.onDecoded(this.#queue.length);
    this.#pump();
  }

  #begin(nalUnits: readonly Uint8Array[]): void {
    const sps = nalUnits.find((unit) => nalType(unit) === NAL_SPS);
    const pps = nalUnits.find((unit) => nalType(unit) === NAL_PPS);
    if (sps !== undefined && pps !== undefined) {
      this.#queue.push(initialization({ ...this.#configuration, sps, pps }));
    }
    this.#needsKey = false;
    this.#keyAt = now();
  }

  /** Each unit starts where the previous one ends. Its duration is estimated from the source's time stamps. */
  #advance(ptsUs: number): void {
    if (this.#lastPtsUs !== undefined) {
      this.#timeUs += this.#durationUs;
      const interval = ptsUs - this.#lastPtsUs;
      this.#durationUs = Math.min(Math.max(interval, DURATION_US.least), DURATION_US.most);
    }
    this.#lastPtsUs = ptsUs;
  }

  #open(): void {
    if (this.#closed) return;
    this.#buffer = this.#source.addSourceBuffer(this.#mime);
    this.#buffer.addEventListener("updateend", () => this.#pump());
    this.#pump();
  }

  #pump(): void {
    const buffer = this.#buffer;
    if (buffer === undefined || buffer.updating || this.#closed || this.#source.readyState !== "open") return;
    this.#catchUp(buffer);
    const oldest = buffer.buffered.length > 0 ? buffer.buffered.start(0) : 0;
    const keep = this.#video.currentTime - KEPT_S;
    if (keep - oldest > KEPT_S) {
      buffer.remove(0, keep);
      return;
    }
    const next = this.#queue.shift();
    if (next === undefined) return;
    try {
      buffer.appendBuffer(next);
    } catch (error) {
      this.#fail(errorText(error));
    }
  }

  #catchUp(buffer: SourceBuffer): void {
    const { buffered } = buffer;
    if (buffered.length === 0) return;
    const newest = buffered.end(buffered.length - 1);
    const behind = newest - this.#video.currentTime > MAX_LAG_S;
    if (behind) this.#video.currentTime = newest - this.#durationUs / 1e6;
    // Some browsers refuse to play even silent videos before the user has interacted with the page; the next append retries.
    if (this.#video.paused) this.#video.play().catch(() => undefined);
  }

  readonly #onError = (): void => {
    this.#fail(this.#video.error?.message ?? "no reason given");
  };

  #fail(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#events.onFailure(`This browser's video element rejected the stream: ${reason}`);
  }
}

const canvas = document.createElement("canvas");

/** For tests: brightness at each point, 0 to 255, -1 outside the picture. Over plain HTTP there is no other way. */
function readElementLuma(video: HTMLVideoElement, points: readonly Point[]): number[] {
  const { videoWidth: width, videoHeight: height } = video;
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context?.drawImage(video, 0, 0);
  const data = context?.getImageData(0, 0, width, height).data ?? [];
  return points.map(({ x, y }) => (x >= width || y >= height ? -1 : (data[4 * (y * width + x) + 1] ?? -1)));
}
