/**
 * Native encoders, in media.node (host/native/media/binding/session_binding.cc). Their sessions reject frames that must
 * not reach the encoder, limit the unanswered frames, pass the native events on, and give hardware up whose driver does not
 * answer. Their back ends find out, once, which encoders work.
 */
import { errorText } from "../../common/error-text.ts";
import { loadAddon } from "../../common/load-addon.ts";
import { fourcc, PIXEL_FORMATS } from "../../proto/formats.ts";
import { LIMITS } from "../../proto/limits.ts";
import type { NativePicture } from "../native/picture.ts";
import {
  checkInFlight,
  type EncoderBackend,
  type EncoderConfiguration,
  type EncoderDescription,
  type EncoderEvent,
  EncoderFailedError,
  EncoderFullError,
  EncoderHungError,
  type EncoderListener,
  type EncoderOffer,
  type EncoderSession,
  EncoderUnavailableError,
  type FrameRequest,
  type FrameSource,
} from "./encoder.ts";
import { HangWatch } from "./hang-watch.ts";
import { describeStream, planStream, type Rates, type StreamPlan, sameStream } from "./plan.ts";
import { type ProbeFailure, probeEncoder } from "./probe.ts";

/** All numbers are checked by the caller and below 2^31, a peak bit rate below 2^53. */
export type NativeSettings = StreamPlan & BackendSettings;
export type BackendSettings = LibavcodecSettings | { readonly backend: "videotoolbox" };

export interface LibavcodecSettings {
  readonly backend: "libavcodec";
  /** libavcodec's name of the encoder. */
  readonly name: string;
  /** The encoder's pixel format; "vaapi" is NV12 that is uploaded to a surface. */
  readonly input: "i420" | "nv12" | "vaapi";
  /** Of input "vaapi": the render node; "": libva's choice. */
  readonly device: string;
  /** The encoder can change its bit rate in mid-stream; otherwise it is re-opened for that. */
  readonly liveRate: boolean;
  readonly threads: number;
  /** Private options of the codec. */
  readonly options: Readonly<Record<string, string>>;
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
  /** Gives up a session whose thread does not return: no event follows, and the thread is not waited for. */
  abandon(): void;
}

interface SessionAddon {
  readonly NativeSession: new (
    settings: NativeSettings,
    onEvent: (event: SessionEvent) => void,
  ) => NativeSession;
  /** Only if built with VideoToolbox (videotoolbox/videotoolbox_binding.cc); cli/doctor/macos.ts calls it. */
  readonly videoToolboxEncoders?: () => unknown;
}

const native = () => loadAddon("media") as SessionAddon;

/** Whether media.node was built with VideoToolbox. */
export function hasVideoToolbox(): boolean {
  return native().videoToolboxEncoders !== undefined;
}

/** RGB formats are the ones in a single plane. */
const RGB_FOURCCS: ReadonlySet<number> = new Set(
  PIXEL_FORMATS.filter(({ planes }) => planes.length === 1).map(({ drm }) => fourcc(drm)),
);

/** An encoder, and what it makes of a configuration. */
interface NativeEncoder {
  readonly offer: EncoderOffer;
  /** @param currentLevel the level that the stream has declared, undefined for a new stream */
  readonly plan: (configuration: EncoderConfiguration, currentLevel?: number) => StreamPlan;
  readonly settings: (plan: StreamPlan) => BackendSettings;
}

class NativeEncoderSession implements EncoderSession {
  readonly #encoder: NativeEncoder;
  #plan: StreamPlan;
  readonly #listener: EncoderListener;
  readonly #native: NativeSession;
  readonly #opening = withResolvers();
  readonly #closing = withResolvers();
  /** Resolvers of the "passed" events, by token. */
  readonly #marks = new Map<number, () => void>();
  #nextMark = 1;
  /** Frames, and whether their pixels have been read. */
  readonly #unanswered = new Map<number, { read: boolean }>();
  /** Of hardware; software does not hang, but is slow on a busy machine. */
  readonly #watch: HangWatch | undefined;
  #isOpen = false;
  /** No event follows. */
  #ended = false;
  #lastPtsNs = -1;
  /** An access unit is missing in the stream: the next frame must not refer to it. */
  #keyDue = false;
  #failure: EncoderFailedError | undefined;
  #closed = false;

  private constructor(
    encoder: NativeEncoder,
    configuration: EncoderConfiguration,
    listener: EncoderListener,
  ) {
    this.#encoder = encoder;
    this.#plan = encoder.plan(configuration);
    this.#listener = listener;
    const settings = { ...this.#plan, ...encoder.settings(this.#plan) };
    const rethrowing = (event: SessionEvent): void => {
      try {
        this.#onEvent(event);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    };
    if (encoder.offer.hardware) {
      const isOwed = (): boolean =>
        !this.#ended && (!this.#isOpen || this.#closed || this.#unanswered.size > 0 || this.#marks.size > 0);
      this.#watch = new HangWatch(isOwed, (seconds) => this.#abandon(seconds));
    }
    try {
      this.#native = new (native().NativeSession)(settings, rethrowing);
    } catch (error) {
      throw new EncoderFailedError(`${encoder.offer.name}: ${errorText(error)}`);
    }
    this.#watch?.asked();
  }

  get description(): EncoderDescription {
    return describeStream(this.#encoder.offer, this.#plan);
  }

  /**
   * @throws EncoderUnavailableError from `plan`; EncoderFailedError, EncoderFullError, EncoderHungError when the encoder does
   *   not open.
   */
  static async open(
    encoder: NativeEncoder,
    configuration: EncoderConfiguration,
    listener: EncoderListener,
  ): Promise<NativeEncoderSession> {
    const session = new NativeEncoderSession(encoder, configuration, listener);
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
    checkInFlight(frame, this.#unanswered.size);
    this.#unanswered.set(frame, { read: false });
    const message = this.#rejection(source, request);
    if (message !== undefined) {
      queueMicrotask(() => {
        this.#onEvent({ kind: "read", frame });
        this.#onEvent({ kind: "frame-failed", frame, message });
      });
      return;
    }
    this.#lastPtsNs = request.ptsNs;
    this.#watch?.asked();
    this.#native.encode(source.handle, frame, request.forceKeyFrame || this.#keyDue);
    this.#keyDue = false;
  }

  /** The reason why the frame cannot be encoded, though the session can continue. */
  #rejection(source: FrameSource, { frame, ptsNs }: FrameRequest): string | undefined {
    const { width, height, rgb } = this.#plan;
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
    const wanted = this.#encoder.plan(configuration, this.#plan.level);
    if (!sameStream(this.#plan, wanted)) return false;
    this.#native.reconfigure(wanted.rates, wanted.keyframeInterval);
    this.#plan = wanted;
    return true;
  }

  drain(): Promise<void> {
    if (this.#closed) return this.#closing.promise;
    const token = this.#nextMark++;
    const { promise, resolve } = withResolvers();
    this.#marks.set(token, resolve);
    this.#watch?.asked();
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
      this.#watch?.asked();
      this.#native.close();
    }
    return this.#closing.promise;
  }

  #onEvent(event: SessionEvent): void {
    if (this.#ended) return;
    this.#watch?.answered();
    switch (event.kind) {
      case "opened":
        this.#isOpen = true;
        this.#opening.resolve();
        return;
      case "open-failed":
        this.#isOpen = true;
        this.#opening.reject(
          new (isFull(event.message) ? EncoderFullError : EncoderFailedError)(event.message),
        );
        return;
      case "passed":
        this.#marks.get(event.token)?.();
        this.#marks.delete(event.token);
        return;
      case "closed":
        this.#ended = true;
        this.#closing.resolve(this.#native.join());
        return;
      case "read": {
        const frame = this.#unanswered.get(event.frame);
        if (frame !== undefined) frame.read = true;
        break;
      }
      case "packet":
        this.#unanswered.delete(event.frame);
        this.#listener(this.#checkSize(event));
        return;
      case "dropped":
      case "frame-failed":
        this.#unanswered.delete(event.frame);
        break;
      case "failed":
        this.#failure = new EncoderFailedError(event.message);
        break;
    }
    this.#listener(event);
  }

  /** Answers, in the place of a driver that does not, everything that is unanswered. */
  #abandon(seconds: number): void {
    const message = `the driver has not answered for ${seconds} s`;
    this.#ended = true;
    this.#native.abandon();
    for (const [frame, { read }] of this.#unanswered) {
      if (!read) this.#listener({ kind: "read", frame });
      this.#listener(
        this.#closed
          ? { kind: "dropped", frame, reason: "flushed" }
          : { kind: "frame-failed", frame, message },
      );
    }
    this.#unanswered.clear();
    for (const passed of this.#marks.values()) passed();
    this.#marks.clear();
    const error = new EncoderHungError(`${this.#encoder.offer.name}: ${message}`);
    this.#failure = new EncoderFailedError(error.message);
    if (this.#closed) {
      this.#closing.reject(error);
      return;
    }
    this.#closed = true;
    this.#closing.resolve();
    if (this.#isOpen) this.#listener({ kind: "failed", message, hung: true });
    else this.#opening.reject(error);
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

/**
 * Whether an encoder that does not open has no room for another session. Codes do not say: NVENC's limit of sessions is
 * "out of memory (10)" behind "Generic error in an external library"; VAAPI and VideoToolbox have texts of their own.
 */
function isFull(message: string): boolean {
  return /out of memory|cannot allocate memory|resource allocation failed|busy|temporarily unavailable|-12915|-12907/i.test(
    message,
  );
}

/** Large enough for any encoder: the hardware of Intel Macs takes no H.264 below 640x480. */
const PROBE: Omit<EncoderConfiguration, "codec"> = {
  width: 640,
  height: 480,
  framerate: { numerator: 30, denominator: 1 },
  profile: undefined,
  levels: [],
  bitrateKbps: 1000,
  rateControl: "cbr",
  keyframeInterval: 30,
  colorimetry: { primaries: 0, transfer: 0, matrix: 0, fullRange: false },
  pixelAspectRatio: { numerator: 1, denominator: 1 },
};

export interface NativeBackendOptions {
  /** Encode RGB as 0 … 255 instead of 16 … 235 (NV12 and I420 keep their range). Default false. */
  readonly fullRange?: boolean;
  /** What another process has found: `offers` probes nothing. */
  readonly offers?: readonly EncoderOffer[] | undefined;
  /** Called once when `offers` finds that an encoder does not work for one of its codecs; `remedy` as in ProbeFailure. */
  readonly onUnavailable?: (encoder: string, reason: string, remedy?: string) => void;
}

export abstract class NativeBackend implements EncoderBackend {
  abstract readonly name: string;
  /** The offers if everything works, best first, each codec once. */
  protected abstract readonly candidates: readonly EncoderOffer[];
  readonly #options: NativeBackendOptions;
  #offers: Promise<readonly EncoderOffer[]> | undefined;
  #unavailable: string | undefined;

  constructor(options: NativeBackendOptions = {}) {
    this.#options = options;
  }

  /** The settings of this back end alone. */
  protected abstract settings(plan: StreamPlan): BackendSettings;

  /** The reason why this system cannot have the encoder; undefined if it can. */
  protected get absence(): string | undefined {
    return undefined;
  }

  get unavailable(): string | undefined {
    return this.#unavailable;
  }

  offers(): Promise<readonly EncoderOffer[]> {
    this.#offers ??= this.#find();
    return this.#offers;
  }

  async open(configuration: EncoderConfiguration, listener: EncoderListener): Promise<EncoderSession> {
    if (this.absence !== undefined) throw new EncoderUnavailableError(this.absence);
    const offer = this.candidates.find(({ codec }) => codec === configuration.codec);
    if (offer === undefined) {
      const codecs = this.candidates.map(({ codec }) => codec).join(", ");
      throw new EncoderUnavailableError(`it makes ${codecs}, not ${configuration.codec}`);
    }
    return await NativeEncoderSession.open(this.#encoder(offer), configuration, listener);
  }

  #encoder(offer: EncoderOffer): NativeEncoder {
    return {
      offer,
      plan: (wanted, currentLevel) => planStream(wanted, offer, this.#options.fullRange, currentLevel),
      settings: (plan) => this.settings(plan),
    };
  }

  async #find(): Promise<readonly EncoderOffer[]> {
    const { offers } = this.#options;
    if (offers !== undefined) {
      const found = ({ name, codec }: EncoderOffer): boolean =>
        offers.some((offer) => offer.name === name && offer.codec === codec);
      return this.candidates.filter(found);
    }
    // An addon that cannot be loaded is no fault of an encoder.
    native();
    const results = await Promise.all(this.candidates.map((offer) => this.#probe(offer)));
    const failures = results.filter((result) => result !== undefined);
    const works = this.candidates.filter((_, index) => results[index] === undefined);
    if (failures.length > 0) {
      const reason = [...new Set(failures.map((failure) => failure.reason))].join("; ");
      if (works.length === 0) this.#unavailable = reason;
      const remedy = failures.find((failure) => failure.remedy !== undefined)?.remedy;
      this.#options.onUnavailable?.(this.name, reason, remedy);
    }
    return works;
  }

  /** @returns undefined if it works, also if it is full now */
  async #probe(offer: EncoderOffer): Promise<ProbeFailure | undefined> {
    if (this.absence !== undefined) return { reason: this.absence };
    const { plan, settings } = this.#encoder(offer);
    const planned = plan({ ...PROBE, codec: offer.codec });
    const failure = await probeEncoder(this.name, offer.hardware, { ...planned, ...settings(planned) });
    return failure === undefined || isFull(failure.reason) ? undefined : failure;
  }
}
