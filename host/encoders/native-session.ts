/**
 * Sessions of the native encoders in media.node (host/native/media/binding/session_binding.cc). This half rejects frames
 * that must not reach the encoder, limits the unanswered frames, and passes the native events on.
 */
import { isDeepStrictEqual } from "node:util";
import type { CodecName, ProfileName } from "../../common/codec.ts";
import { errorText } from "../../common/error-text.ts";
import { loadAddon } from "../../common/load-addon.ts";
import { fourcc, PIXEL_FORMATS } from "../../proto/formats.ts";
import { LIMITS } from "../../proto/limits.ts";
import type { NativePicture } from "../native/picture.ts";
import {
  type Colorimetry,
  checkInFlight,
  type EncoderConfiguration,
  type EncoderDescription,
  type EncoderEvent,
  EncoderFailedError,
  type EncoderListener,
  type EncoderSession,
  type Fraction,
  type FrameRequest,
  type FrameSource,
} from "./encoder.ts";
import type { Rates, StreamPlan } from "./plan.ts";

/** All numbers are checked by the caller and below 2^31, a peak bit rate below 2^53. */
export type NativeSettings = StreamSettings & BackendSettings;
export type BackendSettings = LibavcodecSettings | VideoToolboxSettings;

export interface StreamSettings {
  /** Visible size in pixels. */
  readonly width: number;
  readonly height: number;
  /** Frames a second that rate control assumes. */
  readonly framerate: Fraction;
  /** Whether the VUI states it. */
  readonly fixedRate: boolean;
  readonly pixelAspectRatio: Fraction;
  readonly colorimetry: Colorimetry;
  /** Whether frames are RGB; decides where chroma samples are sited. */
  readonly rgb: boolean;
  readonly rates: Rates;
  readonly keyframeInterval: number;
}

export interface LibavcodecSettings {
  readonly backend: "libavcodec";
  /** libavcodec's name of the encoder. */
  readonly name: string;
  /** The encoder's pixel format; "vaapi" is NV12 that is uploaded to a surface. */
  readonly input: "i420" | "nv12" | "vaapi";
  /** The encoder can change its bit rate in mid-stream; otherwise it is re-opened for that. */
  readonly liveRate: boolean;
  readonly threads: number;
  /** Private options of the codec. */
  readonly options: Readonly<Record<string, string>>;
}

export interface VideoToolboxSettings {
  readonly backend: "videotoolbox";
  readonly codec: CodecName;
  readonly profile: ProfileName;
}

/** A configuration in the terms of one encoder. */
export interface PreparedStream {
  readonly plan: StreamPlan;
  /** Of the configuration: these cannot change in a session, unlike the rates in `settings`. */
  readonly rateControl: EncoderConfiguration["rateControl"];
  readonly settings: NativeSettings;
}

/**
 * The native events: "opened" or "open-failed" is the first, apart from notes, and "closed" the last. "passed" answers
 * mark().
 */
type SessionEvent =
  | EncoderEvent
  | { readonly kind: "opened" | "closed" }
  | { readonly kind: "open-failed"; readonly message: string }
  | { readonly kind: "passed"; readonly token: number };

/** None of the methods blocks; all but join() only queue. */
interface NativeSession {
  /** @throws TypeError when the picture is closed. */
  encode(picture: NativePicture, frame: number, forceKeyFrame: boolean): void;
  reconfigure(rates: Rates, keyframeInterval: number): void;
  /** "passed" follows when everything queued so far has been answered. */
  mark(token: number): void;
  /** Drops the queued frames. */
  flush(): void;
  /** Drops the queued frames; "closed" follows. */
  close(): void;
  /** Call it once, after "closed"; settles when the thread has ended. */
  join(): Promise<void>;
}

interface SessionAddon {
  readonly NativeSession: new (
    settings: NativeSettings,
    onEvent: (event: SessionEvent) => void,
  ) => NativeSession;
  /** Only if built with VideoToolbox (videotoolbox/videotoolbox_binding.cc); cli/doctor/macos.ts calls it. */
  readonly videoToolboxEncoders?: () => unknown;
}

let addon: SessionAddon | undefined;
const native = (): SessionAddon => {
  addon ??= loadAddon("media") as SessionAddon;
  return addon;
};

/** Whether media.node was built with VideoToolbox. */
export function hasVideoToolbox(): boolean {
  return native().videoToolboxEncoders !== undefined;
}

/** As offers and descriptions name it. */
function encoderName(settings: NativeSettings): string {
  return settings.backend === "videotoolbox" ? settings.backend : settings.name;
}

/**
 * Starts the session's thread, which opens the encoder.
 *
 * An error thrown by `onEvent` becomes an uncaught exception, as in any other callback of Node. From a thread-safe
 * function, Node 20 would only print a warning (DEP0168).
 *
 * @throws EncoderFailedError when the system cannot start the thread.
 */
function startSession(settings: NativeSettings, onEvent: (event: SessionEvent) => void): NativeSession {
  const rethrowing = (event: SessionEvent): void => {
    try {
      onEvent(event);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  };
  try {
    return new (native().NativeSession)(settings, rethrowing);
  } catch (error) {
    throw new EncoderFailedError(`${encoderName(settings)}: ${errorText(error)}`);
  }
}

/** RGB formats are the ones in a single plane. */
const RGB_FOURCCS: ReadonlySet<number> = new Set(
  PIXEL_FORMATS.filter(({ planes }) => planes.length === 1).map(({ drm }) => fourcc(drm)),
);

/** @param currentLevel the level that the stream has declared, undefined for a new stream */
type Prepare = (configuration: EncoderConfiguration, currentLevel?: number) => PreparedStream;

export class NativeEncoderSession implements EncoderSession {
  readonly #prepare: Prepare;
  readonly #hardware: boolean;
  #prepared: PreparedStream;
  readonly #listener: EncoderListener;
  readonly #native: NativeSession;
  readonly #opening = withResolvers();
  readonly #closing = withResolvers();
  /** Resolvers of the "passed" events, by token. */
  readonly #marks = new Map<number, () => void>();
  #nextMark = 1;
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
    listener: EncoderListener,
  ) {
    this.#prepare = prepare;
    this.#hardware = hardware;
    this.#prepared = prepare(configuration);
    this.#listener = listener;
    this.#native = startSession(this.#prepared.settings, (event) => this.#onEvent(event));
  }

  get description(): EncoderDescription {
    const { settings, plan } = this.#prepared;
    return {
      encoder: encoderName(settings),
      hardware: this.#hardware,
      width: settings.width + (settings.width % 2),
      height: settings.height + (settings.height % 2),
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
    listener: EncoderListener,
  ): Promise<NativeEncoderSession> {
    const session = new NativeEncoderSession(prepare, hardware, configuration, listener);
    try {
      await session.#opening.promise;
    } catch (error) {
      await session.close();
      throw error;
    }
    return session;
  }

  encode(source: FrameSource, request: FrameRequest): void {
    const { frame } = request;
    if (this.#closed) throw new EncoderFailedError("the session is closed");
    if (this.#failure !== undefined) throw this.#failure;
    checkInFlight(frame, this.#unanswered);
    this.#unanswered++;
    const message = this.#rejection(source, request);
    if (message !== undefined) {
      queueMicrotask(() => {
        this.#onEvent({ kind: "read", frame });
        this.#onEvent({ kind: "frame-failed", frame, message });
      });
      return;
    }
    this.#lastPtsNs = request.ptsNs;
    this.#native.encode(source.handle, frame, request.forceKeyFrame || this.#keyDue);
    this.#keyDue = false;
  }

  /** The reason why the frame cannot be encoded, though the session can continue. */
  #rejection(source: FrameSource, { frame, ptsNs }: FrameRequest): string | undefined {
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
      return `frame ${frame} has the time stamp ${ptsNs} ns, expected a whole number above ${this.#lastPtsNs}`;
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
    const { promise, resolve } = withResolvers();
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

  #onEvent(event: SessionEvent): void {
    switch (event.kind) {
      case "opened":
        this.#opening.resolve();
        return;
      case "open-failed":
        this.#opening.reject(new EncoderFailedError(event.message));
        return;
      case "passed":
        this.#marks.get(event.token)?.();
        this.#marks.delete(event.token);
        return;
      case "closed":
        this.#closing.resolve(this.#native.join());
        return;
      case "packet":
        this.#unanswered--;
        this.#listener(this.#checkSize(event));
        return;
      case "dropped":
      case "frame-failed":
        this.#unanswered--;
        break;
      case "failed":
        this.#failure = new EncoderFailedError(event.message);
        break;
    }
    this.#listener(event);
  }

  #checkSize(packet: EncoderEvent & { kind: "packet" }): EncoderEvent {
    const { frame, data } = packet;
    const most = LIMITS.MAX_ACCESS_UNIT_BYTES;
    if (data.length <= most) return packet;
    this.#keyDue = true;
    const message = `frame ${frame} became ${data.length} bytes, at most ${most} can be sent; lower the bit rate`;
    return { kind: "frame-failed", frame, message };
  }
}

/** As Promise.withResolvers of Node 22. */
function withResolvers() {
  let resolve: (value?: Promise<void>) => void = () => {};
  let reject: (reason: Error) => void = () => {};
  const promise = new Promise<void>((fulfil, refuse) => {
    resolve = fulfil as (value?: Promise<void>) => void;
    reject = refuse;
  });
  return { promise, resolve, reject };
}
