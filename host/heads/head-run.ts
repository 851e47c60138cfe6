/**
 * A head while it is watched: the guest's display is encoded in place whenever it changes.
 *
 * The exporter announces what the head shows (Scanout: a resource and a rectangle of it) and what the guest changes in it
 * (Damage). Both make a picture due; the pacer decides when to make it: open an encoder of its size, map the resource's
 * pages, encode one frame. The guest may draw meanwhile, which is damage again, so the last picture of a change is always
 * complete. Failures are shown to the viewers and retried after a while.
 */

import type { Logger } from "pino";
import { errorText } from "../../common/error-text.ts";
import type { SourceEvents, SourceStatistics, ViewerSource } from "../../viewer/server/source.ts";
import { type EncodedPacket, type EncoderBackend, EncoderError } from "../encoders/encoder.ts";
import { ExportClosedError, ExportRefusedError } from "../export/client.ts";
import type { Heads } from "../export/heads.ts";
import type { Scanout } from "../export/source.ts";
import type { ResourceSource } from "../export/vm-resources.ts";
import { PictureError, type PictureTier } from "../native/picture.ts";
import type { HeadMetrics } from "../relay/metrics.ts";
import { HeadEncoder } from "./head-encoder.ts";
import { HeadPictures, ScanoutError } from "./head-pictures.ts";
import { Pacer } from "./pacer.ts";

const RETRY_MS = 1000;
/** For viewers of a head whose exporter is away. */
export const HEAD_AWAY = "The VM is off, or its GPU process does not answer.";
const AWAY = {
  exporter: HEAD_AWAY,
  display: "The display is off.",
} as const;

/** Errors that a guest or an encoder can cause. */
const EXPECTED = [ExportRefusedError, ExportClosedError, PictureError, EncoderError, ScanoutError];

export interface HeadOptions {
  readonly head: number;
  readonly heads: Heads;
  readonly resources: ResourceSource;
  readonly backend: EncoderBackend;
  /** Maximum pictures per second. */
  readonly rate: number;
  /** At the start. */
  readonly bitrateKbps: number;
  readonly metrics: HeadMetrics;
  readonly log: Logger;
}

/** A head of a VM as a source for viewers: encoded on the host while watched, without software in the guest. */
export class HeadSource implements ViewerSource {
  readonly kind = "head";
  readonly id: string;
  readonly vm: string;
  readonly title: string;
  readonly #options: HeadOptions;
  #run: HeadRun | undefined;

  constructor(vm: string, options: HeadOptions) {
    this.vm = vm;
    this.id = `${vm}/head${options.head}`;
    this.title = `Head ${options.head}`;
    this.#options = options;
  }

  start(events: SourceEvents): void {
    this.#run = new HeadRun(this.#options, events);
  }

  stop(): void {
    this.#run?.stop();
    this.#run = undefined;
  }

  requestKeyFrame(): void {
    this.#run?.requestKeyFrame();
  }

  setBitrate(kbps: number): void {
    this.#run?.setBitrate(kbps);
  }

  statistics(): SourceStatistics {
    return this.#run?.statistics() ?? { encoder: "", tier: "", bitrateKbps: 0, dropped: { encoder: 0 } };
  }
}

class HeadRun {
  readonly #options: HeadOptions;
  readonly #events: SourceEvents;
  readonly #pictures: HeadPictures;
  readonly #encoder: HeadEncoder;
  readonly #pacer: Pacer;
  readonly #startedMs = performance.now();
  readonly #unwatch: () => void;
  #scanout: Scanout | undefined;
  #needKeyFrame = true;
  #stopped = false;
  #lastPtsNs = -1;
  #tier: PictureTier | "" = "";
  #dropped = 0;
  #reported: string | undefined;

  constructor(options: HeadOptions, events: SourceEvents) {
    this.#options = options;
    this.#events = events;
    this.#pictures = new HeadPictures(options.resources);
    this.#encoder = new HeadEncoder(options);
    this.#pacer = new Pacer(options.rate, (changedMs) => this.#show(changedMs));
    this.#unwatch = options.heads.watch(options.head, {
      onScanout: (scanout) => this.#onScanout(scanout),
      onDamage: () => this.#pacer.changed(),
      onCursor: (cursor) => events.onCursor?.(cursor),
    });
  }

  statistics(): SourceStatistics {
    const { encoder = "", bitrateKbps = 0 } = this.#encoder.description ?? {};
    return { encoder, bitrateKbps, tier: this.#tier, dropped: { encoder: this.#dropped } };
  }

  requestKeyFrame(): void {
    this.#needKeyFrame = true;
    this.#pacer.changed();
  }

  setBitrate(kbps: number): void {
    this.#encoder.setBitrate(kbps);
  }

  /** No event follows. The pages are released once the frame that is being encoded has been read. */
  stop(): void {
    this.#stopped = true;
    this.#unwatch();
    this.#pacer.stop();
    this.#pictures.close();
    void this.#encoder.close();
  }

  #onScanout(scanout: Scanout | undefined): void {
    if (scanout !== undefined && scanout.resource !== 0) {
      this.#scanout = scanout;
      this.#pacer.changed();
      return;
    }
    this.#scanout = undefined;
    this.#needKeyFrame = true;
    this.#pictures.clear();
    this.#events.onState({ code: "away", text: scanout === undefined ? AWAY.exporter : AWAY.display });
  }

  async #show(changedMs: number): Promise<void> {
    const scanout = this.#scanout;
    if (scanout === undefined) return;
    try {
      if (await this.#encoder.open(scanout.rectangle)) this.#needKeyFrame = true;
      const picture = await this.#pictures.get(scanout);
      this.#tier = picture.tier;
      const captureUs = Math.round((performance.now() - changedMs) * 1000);
      const ptsNs = this.#nextPtsNs();
      const forceKeyFrame = this.#needKeyFrame;
      this.#needKeyFrame = false;
      const packet = await this.#encoder.encode(picture, ptsNs, forceKeyFrame);
      if (packet !== undefined) this.#deliver(packet, ptsNs, captureUs);
      else this.#onDropped(forceKeyFrame);
    } catch (error) {
      this.#onFailure(error, scanout);
    }
  }

  #deliver(
    { key, data, queueUs, convertUs, encodeUs }: EncodedPacket,
    ptsNs: number,
    captureUs: number,
  ): void {
    this.#reported = undefined;
    // A picture from before the display went off would show viewers that it is on.
    if (this.#stopped || this.#scanout === undefined) return;
    this.#events.onAccessUnit({
      codec: "h264",
      ptsUs: Math.round(ptsNs / 1000),
      key,
      stages: { captureUs, queueUs, convertUs, encodeUs },
      data,
    });
  }

  /** The picture is still due: the next change may be far off. */
  #onDropped(wasToBeKey: boolean): void {
    this.#dropped += 1;
    if (wasToBeKey) this.#needKeyFrame = true;
    this.#pacer.changed();
  }

  #onFailure(error: unknown, scanout: Scanout): void {
    // It is no longer shown, and its successor is already due.
    if (this.#stopped || this.#scanout !== scanout) return;
    const { log, metrics } = this.#options;
    metrics.frameFailed();
    const reason = errorText(error);
    const known = EXPECTED.some((type) => error instanceof type);
    if (this.#reported !== reason) {
      this.#reported = reason;
      if (known) log.warn({ reason }, "cannot show the head; retrying");
      else log.error({ err: error }, "cannot show the head; retrying");
    }
    this.#needKeyFrame = true;
    this.#events.onState({ code: "failed", text: `Cannot show the display: ${reason}.` });
    this.#pacer.retryAfter(RETRY_MS);
  }

  /** Time stamps of a session must increase. */
  #nextPtsNs(): number {
    const now = Math.round((performance.now() - this.#startedMs) * 1e6);
    this.#lastPtsNs = Math.max(now, this.#lastPtsNs + 1);
    return this.#lastPtsNs;
  }
}
