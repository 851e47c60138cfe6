/**
 * A VideoDecoder that survives what happens to decoders: it is told of its stream by the server, drops what it cannot
 * keep up with, tries software when hardware fails, and is built anew when the browser has taken it away.
 */
import { errorText } from "../../../common/error-text.ts";
import { type Configuration, type DropReason, now, type Unit, type UnitHead } from "../player/unit.ts";
import type { FrameTimes } from "../statistics/stages.ts";

/** More than these waiting, and the picture would lag: what follows is dropped up to a key frame. */
const MAX_WAITING = 3;

/** A decoded picture's history so far. */
export interface Decoded {
  readonly unit: UnitHead;
  readonly times: FrameTimes;
  readonly decodedAt: number;
}

export interface DecoderEvents {
  /** The receiver closes the frame. */
  onFrame(frame: VideoFrame, decoded: Decoded): void;
  onDrop(reason: DropReason, count: number): void;
  onKeyFrameNeeded(): void;
  onFailure(text: string): void;
  onDecoder(name: string): void;
}

interface Waiting {
  readonly unit: UnitHead;
  readonly decodeAt: number;
}

export class Decoder {
  readonly #events: DecoderEvents;
  #configuration: Configuration | undefined;
  #decoder: VideoDecoder | undefined;
  #acceleration: HardwareAcceleration = "no-preference";
  /** Whether a picture came since the decoder last failed: if none did, another attempt would end the same way. */
  #cameSinceFailure = true;
  #failed = false;
  #needsKey = true;
  /** What the decoder has, by the time stamp it was given: a serial number, since streams may repeat theirs. */
  readonly #waiting = new Map<number, Waiting>();
  #serial = 0;
  #replaying = 0;

  constructor(events: DecoderEvents) {
    this.#events = events;
  }

  get queueLength(): number {
    return this.#decoder?.decodeQueueSize ?? 0;
  }

  configure(configuration: Configuration): void {
    this.#configuration = configuration;
    this.#failed = false;
    this.#cameSinceFailure = true;
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
    // A replay is a whole group of pictures at once and is not shown, so that it is behind says nothing.
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
      // Thrown for a decoder that the browser has closed, and for a key frame that is none.
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
      output: (frame) => {
        if (decoder === this.#decoder) this.#came(frame);
        else frame.close();
      },
      error: (error) => {
        if (decoder === this.#decoder) this.#recover(error);
      },
    });
    decoder.configure({
      codec: configuration.codec,
      codedWidth: configuration.width,
      codedHeight: configuration.height,
      hardwareAcceleration: this.#acceleration,
      // Without it a decoder may keep a picture until the next has come: half a second at 2 fps.
      optimizeForLatency: true,
    });
    this.#decoder = decoder;
    this.#events.onDecoder(this.#acceleration === "prefer-software" ? "WebCodecs, in software" : "WebCodecs");
    return decoder;
  }

  #came(frame: VideoFrame): void {
    const waiting = this.#waiting.get(frame.timestamp);
    if (waiting === undefined) {
      frame.close();
      return;
    }
    this.#waiting.delete(frame.timestamp);
    if (waiting.unit.replay) this.#replaying--;
    this.#cameSinceFailure = true;
    const { unit, decodeAt } = waiting;
    const decodedAt = now();
    const times = { ...unit.times, wait: decodeAt - unit.arrivedAt, decode: decodedAt - decodeAt };
    this.#events.onFrame(frame, { unit, times, decodedAt });
  }

  #recover(error: unknown): void {
    const lost = this.#waiting.size;
    this.#discard();
    if (lost > 0) this.#events.onDrop("lost with the decoder", lost);
    // The browser takes decoders away from pages that do not use them. That is no failure of the stream.
    const reclaimed = error instanceof DOMException && error.name === "QuotaExceededError";
    if (!reclaimed) {
      const wasSoftware = this.#acceleration === "prefer-software";
      if (wasSoftware && !this.#cameSinceFailure) {
        this.#failed = true;
        const reason = errorText(error);
        this.#events.onFailure(
          `This browser's decoder refuses the stream (${this.#configuration?.codec ?? "no codec"}): ${reason}`,
        );
        return;
      }
      this.#acceleration = "prefer-software";
      this.#cameSinceFailure = false;
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
