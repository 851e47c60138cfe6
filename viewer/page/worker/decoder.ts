/**
 * A VideoDecoder that recovers: it drops units when it falls behind, tries software when hardware fails, and is created
 * again when the browser has reclaimed it.
 */
import { errorText } from "../../../common/error-text.ts";
import {
  type Configuration,
  type DropReason,
  now,
  type PlayerEvents,
  type Unit,
  type UnitHead,
} from "../player/unit.ts";
import type { FrameTimes } from "../statistics/stages.ts";

/** With more units waiting the picture would lag, so units are dropped up to the next key frame. */
const MAX_WAITING = 3;

/** The history of a decoded picture. */
export interface Decoded {
  readonly unit: UnitHead;
  readonly times: FrameTimes;
  readonly decodedAt: number;
}

export class Decoder {
  readonly #events: PlayerEvents;
  readonly #onFrame: (frame: VideoFrame, decoded: Decoded) => void;
  #configuration: Configuration | undefined;
  #decoder: VideoDecoder | undefined;
  #acceleration: HardwareAcceleration = "no-preference";
  /** Whether a picture was decoded since the last failure; if not, another attempt would fail in the same way. */
  #decodedSinceFailure = true;
  #failed = false;
  #needsKey = true;
  /** Units in the decoder, by time stamp: a serial number, because a stream may repeat its own time stamps. */
  readonly #waiting = new Map<number, { readonly unit: UnitHead; readonly decodeAt: number }>();
  #serial = 0;
  #replaying = 0;

  /** @param onFrame has to close the frame */
  constructor(events: PlayerEvents, onFrame: (frame: VideoFrame, decoded: Decoded) => void) {
    this.#events = events;
    this.#onFrame = onFrame;
  }

  get queueLength(): number {
    return this.#decoder?.decodeQueueSize ?? 0;
  }

  configure(configuration: Configuration): void {
    this.#configuration = configuration;
    this.#failed = false;
    this.#decodedSinceFailure = true;
    this.#acceleration = "no-preference";
    this.#needsKey = true;
    this.#discard();
  }

  reset(): void {
    this.#discard();
    this.#configuration = undefined;
    this.#needsKey = true;
  }

  decode(unit: Unit): void {
    if (this.#configuration === undefined || this.#failed) return;
    if (this.#needsKey && !unit.key) {
      this.#drop("waiting for a key frame");
      return;
    }
    // A replay is a whole group of pictures at once and is not shown, so a long queue is expected.
    const behind = this.queueLength > MAX_WAITING && this.#replaying === 0;
    if (behind && !unit.key && !unit.replay) {
      this.#drop("decoder behind");
      return;
    }
    const decoder = this.#decoder ?? this.#open(this.#configuration);
    this.#needsKey = false;
    const serial = this.#serial++;
    const { data, ...rest } = unit;
    this.#waiting.set(serial, { unit: rest, decodeAt: now() });
    if (unit.replay) this.#replaying++;
    try {
      decoder.decode(new EncodedVideoChunk({ type: unit.key ? "key" : "delta", timestamp: serial, data }));
    } catch (error) {
      // Thrown for a decoder that the browser has closed, and for a unit marked as a key frame that is not one.
      this.#recover(error);
    }
  }

  #drop(reason: DropReason): void {
    this.#needsKey = true;
    this.#events.onDrop(reason, 1);
    this.#events.onKeyFrameNeeded();
  }

  #open(configuration: Configuration): VideoDecoder {
    const decoder: VideoDecoder = new VideoDecoder({
      output: (frame) => (decoder === this.#decoder ? this.#onOutput(frame) : frame.close()),
      error: (error) => decoder === this.#decoder && this.#recover(error),
    });
    const { codec, width: codedWidth, height: codedHeight } = configuration;
    decoder.configure({
      codec,
      codedWidth,
      codedHeight,
      hardwareAcceleration: this.#acceleration,
      // Without it a decoder may hold a picture until the next unit arrives: half a second at 2 fps.
      optimizeForLatency: true,
    });
    this.#decoder = decoder;
    this.#events.onDecoder(this.#acceleration === "prefer-software" ? "WebCodecs, in software" : "WebCodecs");
    return decoder;
  }

  #onOutput(frame: VideoFrame): void {
    const waiting = this.#waiting.get(frame.timestamp);
    if (waiting === undefined) {
      frame.close();
      return;
    }
    this.#waiting.delete(frame.timestamp);
    if (waiting.unit.replay) this.#replaying--;
    this.#decodedSinceFailure = true;
    const { unit, decodeAt } = waiting;
    const decodedAt = now();
    const times = { ...unit.times, wait: decodeAt - unit.arrivedAt, decode: decodedAt - decodeAt };
    this.#onFrame(frame, { unit, times, decodedAt });
  }

  #recover(error: unknown): void {
    const lost = this.#waiting.size;
    this.#discard();
    if (lost > 0) this.#events.onDrop("lost with the decoder", lost);
    // The browser reclaims decoders from inactive pages. The stream is not at fault.
    const reclaimed = error instanceof DOMException && error.name === "QuotaExceededError";
    if (!reclaimed) {
      const wasSoftware = this.#acceleration === "prefer-software";
      if (wasSoftware && !this.#decodedSinceFailure) {
        this.#failed = true;
        const reason = errorText(error);
        this.#events.onFailure(
          `This browser's decoder rejected the stream (${this.#configuration?.codec ?? "no codec"}): ${reason}`,
        );
        return;
      }
      this.#acceleration = "prefer-software";
      this.#decodedSinceFailure = false;
    }
    this.#needsKey = true;
    this.#events.onKeyFrameNeeded();
  }

  #discard(): void {
    const decoder = this.#decoder;
    this.#decoder = undefined;
    if (decoder !== undefined && decoder.state !== "closed") decoder.close();
    this.#waiting.clear();
    this.#replaying = 0;
  }
}
