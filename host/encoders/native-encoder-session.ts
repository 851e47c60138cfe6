/**
 * The JavaScript half of a session whose encoder is native: it refuses what must not reach the encoder, counts the frames that
 * have no answer yet, and turns the native events into the interface's.
 */
import { isDeepStrictEqual } from "node:util";
import { fourcc, PIXEL_FORMATS } from "../../proto/formats.ts";
import { LIMITS } from "../../proto/limits.ts";
import {
  type EncodedPacket,
  EncoderBusyError,
  type EncoderConfiguration,
  type EncoderDescription,
  type EncoderEvents,
  EncoderFailedError,
  type EncoderSession,
  FrameRefusedError,
  type FrameRequest,
  type FrameSource,
  type RateControl,
} from "./encoder.ts";
import {
  encoderName,
  type NativeEvent,
  type NativeSession,
  type NativeSettings,
  startSession,
} from "./native-session.ts";
import type { StreamPlan } from "./plan.ts";

/** RGB formats are the ones in a single plane. */
const RGB_FOURCCS: ReadonlySet<number> = new Set(
  PIXEL_FORMATS.filter(({ planes }) => planes.length === 1).map(({ drm }) => fourcc(drm)),
);

/** A configuration in the terms of one encoder. */
export interface PreparedStream {
  readonly plan: StreamPlan;
  readonly rateControl: RateControl;
  readonly settings: NativeSettings;
}

/** `current`: the level that the stream has declared, if there is one already. */
type Prepare = (configuration: EncoderConfiguration, current: number | undefined) => PreparedStream;

export class NativeEncoderSession implements EncoderSession {
  readonly #prepare: Prepare;
  readonly #hardware: boolean;
  #prepared: PreparedStream;
  readonly #events: EncoderEvents;
  readonly #native: NativeSession;
  readonly #opening = withResolver();
  readonly #closing = withResolver();
  /** Waiters for the "passed" events, by token. */
  readonly #marks = new Map<number, () => void>();
  #nextMark = 1;
  /** Frames without packet, dropped or error. */
  #unanswered = 0;
  #lastPtsNs = -1;
  /** An access unit is missing in the stream: the next frame must not refer to it. */
  #keyDue = false;
  #failure: EncoderFailedError | undefined;
  #closed = false;

  private constructor(
    prepare: Prepare,
    hardware: boolean,
    configuration: EncoderConfiguration,
    events: EncoderEvents,
  ) {
    this.#prepare = prepare;
    this.#hardware = hardware;
    this.#prepared = prepare(configuration, undefined);
    this.#events = events;
    this.#native = startSession(this.#prepared.settings, (event) => this.#onEvent(event));
  }

  get description(): EncoderDescription {
    const { settings, plan } = this.#prepared;
    return {
      encoder: encoderName(settings),
      hardware: this.#hardware,
      width: roundUpToEven(settings.width),
      height: roundUpToEven(settings.height),
      colorimetry: settings.colorimetry,
      bitrateKbps: Math.round(plan.rates.bitsPerSecond / 1000),
      keyframeInterval: plan.keyframeInterval,
    };
  }

  /** @throws EncoderUnavailableError from `prepare`; EncoderFailedError when the encoder does not open. */
  static async open(
    prepare: Prepare,
    hardware: boolean,
    configuration: EncoderConfiguration,
    events: EncoderEvents,
  ): Promise<NativeEncoderSession> {
    const session = new NativeEncoderSession(prepare, hardware, configuration, events);
    try {
      await session.#opening.promise;
    } catch (error) {
      await session.close();
      throw error;
    }
    return session;
  }

  encode(source: FrameSource, request: FrameRequest): void {
    if (this.#closed) throw new EncoderFailedError("the session is closed");
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#unanswered >= LIMITS.MAX_IN_FLIGHT_FRAMES) {
      throw new EncoderBusyError(
        `frame ${request.frame} is one more than the ${LIMITS.MAX_IN_FLIGHT_FRAMES} that may be unanswered`,
      );
    }
    this.#unanswered++;
    const refusal = this.#refusal(source, request);
    if (refusal !== undefined) {
      // Never from within encode(): the caller is not done with the frame yet.
      queueMicrotask(() => {
        this.#unanswered--;
        this.#events.onFrameRead(request.frame);
        this.#events.onError(request.frame, new FrameRefusedError(refusal));
      });
      return;
    }
    this.#lastPtsNs = request.ptsNs;
    this.#native.encode(source.handle, request.frame, request.forceKeyFrame || this.#keyDue);
    this.#keyDue = false;
  }

  /** Why the frame cannot be encoded, though the session can go on. */
  #refusal(source: FrameSource, { frame, ptsNs }: FrameRequest): string | undefined {
    const { width, height, rgb } = this.#prepared.settings;
    const { visible, fourcc } = source.layout;
    if (source.closed) return `frame ${frame}: its picture is closed`;
    if (visible.width !== width || visible.height !== height) {
      return (
        `frame ${frame} is ${visible.width}x${visible.height}, the session is configured for ` +
        `${width}x${height}; configure the new size first`
      );
    }
    if (RGB_FOURCCS.has(fourcc) !== rgb) {
      return rgb
        ? `frame ${frame} is YUV, the session is configured for RGB (matrix 0); configure its matrix first`
        : `frame ${frame} is RGB, the session is configured for YUV; configure matrix 0 first`;
    }
    if (!Number.isSafeInteger(ptsNs) || ptsNs <= this.#lastPtsNs) {
      return `frame ${frame} has the time stamp ${ptsNs} ns, not a whole number above ${this.#lastPtsNs}`;
    }
    return undefined;
  }

  reconfigure(configuration: EncoderConfiguration): boolean {
    if (this.#closed || this.#failure !== undefined) return false;
    const current = this.#prepared;
    const wanted = this.#prepare(configuration, current.plan.level);
    if (wanted.rateControl !== current.rateControl) return false;
    const { rates, keyframeInterval } = wanted.settings;
    if (!isDeepStrictEqual(wanted.settings, { ...current.settings, rates, keyframeInterval })) return false;
    this.#native.reconfigure(rates, keyframeInterval);
    this.#prepared = wanted;
    return true;
  }

  drain(): Promise<void> {
    if (this.#closed) return this.#closing.promise;
    const token = this.#nextMark++;
    const { promise, resolve } = withResolver();
    this.#marks.set(token, resolve);
    this.#native.mark(token);
    return promise;
  }

  flush(): Promise<void> {
    if (!this.#closed) this.#native.flush();
    return this.drain();
  }

  close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      this.#native.close();
    }
    return this.#closing.promise;
  }

  #onPacket(packet: EncodedPacket): void {
    const { frame, data } = packet;
    if (data.length <= LIMITS.MAX_ACCESS_UNIT_BYTES) {
      this.#events.onPacket(packet);
      return;
    }
    this.#keyDue = true;
    const most = LIMITS.MAX_ACCESS_UNIT_BYTES;
    this.#events.onError(
      frame,
      new EncoderFailedError(
        `frame ${frame} became ${data.length} bytes, at most ${most} can be sent; lower the bit rate`,
      ),
    );
  }

  #onEvent(event: NativeEvent): void {
    switch (event.kind) {
      case "opened":
        this.#opening.resolve();
        break;
      case "open-failed":
        this.#opening.reject(new EncoderFailedError(event.message));
        break;
      case "read":
        this.#events.onFrameRead(event.frame);
        break;
      case "packet":
        this.#unanswered--;
        this.#onPacket(event);
        break;
      case "dropped":
        this.#unanswered--;
        this.#events.onDropped(event.frame, event.reason);
        break;
      case "frame-failed":
        this.#unanswered--;
        this.#events.onError(event.frame, new EncoderFailedError(event.message));
        break;
      case "note":
        this.#events.onNote?.(event.message);
        break;
      case "failed":
        this.#failure = new EncoderFailedError(event.message);
        this.#events.onError(undefined, this.#failure);
        break;
      case "passed":
        this.#marks.get(event.token)?.();
        this.#marks.delete(event.token);
        break;
      case "closed":
        this.#closing.resolve(this.#native.join());
        break;
    }
  }
}

/** A promise and the functions that settle it (Promise.withResolvers came with Node 22). */
function withResolver(): {
  readonly promise: Promise<void>;
  readonly resolve: (value?: Promise<void>) => void;
  readonly reject: (reason: Error) => void;
} {
  let resolve: (value?: Promise<void>) => void = () => {};
  let reject: (reason: Error) => void = () => {};
  const promise = new Promise<void>((fulfil, refuse) => {
    resolve = fulfil as (value?: Promise<void>) => void;
    reject = refuse;
  });
  return { promise, resolve, reject };
}

/** As RoundUpToEven in host/native/media/picture/convert.h. */
function roundUpToEven(size: number): number {
  return size + (size % 2);
}
