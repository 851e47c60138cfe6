/**
 * One client's frames of HXFR (proto/HXFR.md) as the messages of a session that any guest of ours could send.
 *
 * HXFR names a resource with every frame; here it becomes a buffer, attached once. The buffers that were used last stay
 * attached, and one is attached again if its resource was freed meanwhile. A frame of another size or kind of pixels than the
 * one before is preceded by a Configure. One request is under way at a time, until its pixels have been read; so buffers are
 * detached only when nobody reads them, and nothing waits inside the session.
 */
import type { Logger } from "pino";
import { HXFR_PIXEL_FORMATS, type HxfrConfig, type HxfrFrame } from "../../proto/hxfr.ts";
import { LIMITS } from "../../proto/limits.ts";
import type { OutgoingMessage } from "../../proto/messages.ts";
import { vsockenc } from "../../proto/protobuf.ts";
import { nextSerial } from "../../proto/serial-numbers.ts";
import type { SessionHandler, SessionMessage, SessionOutput } from "./session.ts";

const { ErrorCode, ErrorSubject } = vsockenc;

/** The host refused a request, or cannot carry it out. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";
  readonly code: vsockenc.ErrorCode;

  /** @param text for the guest's user: the cause, and the limit or the remedy */
  constructor(code: vsockenc.ErrorCode, text: string) {
    super(text);
    this.code = code;
  }
}

/** The end of a frame: its access unit, or the reason why there is none. */
export type HxfrAnswer =
  | { readonly key: boolean; readonly data: Uint8Array }
  | { readonly error: RefusedError };
export type OnAnswer = (answer: HxfrAnswer) => void;

/** The number of the one buffer whose pixels come with each frame. */
const INLINE_BUFFER = LIMITS.MAX_ATTACHED_BUFFERS - 1;
/** Bytes after the pixels that a client may send: it rounds its memory up to a page, and sends all of it. */
const MAX_SURPLUS_BYTES = 4095;
/** Difference of times where the client's do not rise. */
const LEAST_STEP_NS = 1_000_000n;
/** A longer pause is shortened, so that times stay below 2^53. */
const MOST_STEP_NS = 3_600_000_000_000n;

/** profile_idc of Rec. ITU-T H.264, A.2. */
const PROFILES: Readonly<Record<number, vsockenc.Profile>> = {
  66: vsockenc.Profile.H264_CONSTRAINED_BASELINE,
  77: vsockenc.Profile.H264_MAIN,
  100: vsockenc.Profile.H264_HIGH,
};

/** A buffer's resource may have been freed, or its exporter restarted; attaching it again shows whether it is back. */
const STALE: readonly vsockenc.ErrorCode[] = [ErrorCode.NO_SUCH_RESOURCE, ErrorCode.NO_EXPORTER];

/** A frame that has no answer yet. */
interface Unanswered {
  readonly answer: OnAnswer;
  /** Ends the wait for FrameDone; undefined after it. */
  done: (() => void) | undefined;
  error: RefusedError | undefined;
}

/** A frame whose pixels arrive. */
interface Incoming {
  readonly frame: number;
  readonly bytes: number;
  received: number;
  /** Settles when they have been read. */
  readonly read: Promise<void>;
}

export class HxfrStream {
  readonly #openSession: (output: SessionOutput) => SessionHandler;
  readonly #log: Logger;
  #session: SessionHandler | undefined;
  #ended = false;
  /** By resource and layout, least recently used first. */
  readonly #buffers = new Map<string, number>();
  /** Layout of the inline buffer. */
  #inline: string | undefined;
  #warnedInline = false;
  /** What the client has configured. */
  #wanted: Partial<vsockenc.Configure> = {};
  /** The session's configuration, as text. */
  #active: string | undefined;
  #rgb = true;
  #serial = 0;
  /** The Attach or Configure without an answer. */
  #waiting: { resolve(): void; reject(error: RefusedError): void } | undefined;
  readonly #frames = new Map<number, Unanswered>();
  #incoming: Incoming | undefined;
  #frame = 0;
  #ptsNs = 0n;
  #clientPtsNs: bigint | undefined;

  /** @param open opens a session, when there is something to encode, and again when one has failed */
  constructor(open: (output: SessionOutput) => SessionHandler, log: Logger) {
    this.#openSession = open;
    this.#log = log;
  }

  /** Applies a CONFIG_REQ. @throws RefusedError; the configuration before stays */
  async configure(request: HxfrConfig): Promise<void> {
    const before = this.#wanted;
    const { width, height, framerateNumerator, framerateDenominator, bitrate, profile } = request;
    this.#wanted = {
      framerateNumerator,
      framerateDenominator,
      bitrateKbps: Math.ceil(bitrate / 1000),
      profile: PROFILES[profile] ?? vsockenc.Profile.PROFILE_UNSPECIFIED,
    };
    try {
      await this.#configureFor({ width, height, rgb: this.#rgb });
    } catch (error) {
      this.#wanted = before;
      throw error;
    }
  }

  /**
   * Starts a frame. Settles when the next request may follow: after the pixels have been read, or at once if they come by
   * `pixels`.
   *
   * @param pixelBytes that follow; undefined if the frame is in its resource
   * @param answer called once
   */
  async encode(request: HxfrFrame, pixelBytes: number | undefined, answer: OnAnswer): Promise<void> {
    try {
      const layout = layoutOf(request);
      if (pixelBytes !== undefined) await this.#encodeInline(request, layout, pixelBytes, answer);
      else await this.#encodeResource(request, layout, answer);
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error;
      answer({ error });
    }
  }

  /** Adds pixels of the frame; those of a refused one are discarded. @returns a promise to wait for, after the last */
  pixels(bytes: Uint8Array, last: boolean): Promise<void> | undefined {
    const incoming = this.#incoming;
    if (incoming === undefined) return undefined;
    const piece = bytes.subarray(0, incoming.bytes - incoming.received);
    const { frame, received: offset } = incoming;
    incoming.received += piece.length;
    if (last) this.#incoming = undefined;
    if (piece.length > 0) this.#send({ type: "data", frame, offset, bytes: piece });
    return last ? incoming.read : undefined;
  }

  /** The client is gone. */
  end(): void {
    this.#ended = true;
    this.#lose(disconnected());
  }

  async #encodeResource(request: HxfrFrame, layout: Layout, answer: OnAnswer): Promise<void> {
    const { resource } = request;
    if (resource === 0) {
      throw new RefusedError(ErrorCode.INVALID_VALUE, "resource_id is 0, and the frame has no pixels");
    }
    await this.#configureFor(layout);
    const key = `${resource} ${layout.key}`;
    const known = this.#buffers.get(key);
    const buffer = known ?? (await this.#attachResource(key, resource, layout));
    this.#touch(key, buffer);
    let error = await this.#submit(request, buffer, 0, answer);
    if (error !== undefined && known !== undefined && STALE.includes(error.code)) {
      this.#forget(key, buffer);
      error = await this.#submit(request, await this.#attachResource(key, resource, layout), 0, answer);
    }
    if (error !== undefined) throw error;
  }

  async #encodeInline(
    request: HxfrFrame,
    layout: Layout,
    pixelBytes: number,
    answer: OnAnswer,
  ): Promise<void> {
    const { bytes, allBytes, name } = layout;
    if (pixelBytes < bytes || pixelBytes > allBytes + MAX_SURPLUS_BYTES) {
      const text = `the frame has ${pixelBytes} bytes of pixels; ${name} needs ${bytes} to ${allBytes}`;
      throw new RefusedError(ErrorCode.INVALID_VALUE, text);
    }
    if (!this.#warnedInline) this.#log.warn("the client sends pixels instead of resource ids, which is slow");
    this.#warnedInline = true;
    await this.#configureFor(layout);
    if (this.#inline !== layout.key) {
      if (this.#inline !== undefined) this.#detach(INLINE_BUFFER);
      this.#inline = undefined;
      await this.#attach(INLINE_BUFFER, 0, layout);
      this.#inline = layout.key;
    }
    const read = this.#submit(request, INLINE_BUFFER, bytes, answer).then((error) => {
      if (error !== undefined) answer({ error });
    });
    if (this.#session !== undefined) this.#incoming = { frame: this.#frame, bytes, received: 0, read };
  }

  async #configureFor({ width, height, rgb }: Pick<Layout, "width" | "height" | "rgb">): Promise<void> {
    const codec = vsockenc.Codec.H264;
    const wanted = {
      ...this.#wanted,
      codec,
      width,
      height,
      colorimetry: { matrix: rgb ? 0 : UNKNOWN_MATRIX },
    };
    const key = JSON.stringify(wanted);
    if (this.#active === key) return;
    this.#active = undefined;
    this.#rgb = rgb;
    this.#serial = nextSerial(this.#serial);
    const body = new vsockenc.Configure({ ...wanted, serial: this.#serial });
    await this.#request({ type: "configure", body });
    this.#active = key;
  }

  async #attachResource(key: string, resource: number, layout: Layout): Promise<number> {
    const [oldest] = this.#buffers;
    if (this.#buffers.size >= INLINE_BUFFER && oldest !== undefined) this.#forget(...oldest);
    const used = new Set(this.#buffers.values());
    let buffer = 0;
    while (used.has(buffer)) buffer += 1;
    await this.#attach(buffer, resource, layout);
    this.#touch(key, buffer);
    return buffer;
  }

  async #attach(buffer: number, resource: number, layout: Layout): Promise<void> {
    const { width, height, fourcc } = layout;
    const planes = layout.planes.map((plane) => ({ ...plane, resource }));
    const body = new vsockenc.Attach({ buffer, width, height, fourcc, planes });
    await this.#request({ type: "attach", body });
  }

  /** Marks a buffer as used last. */
  #touch(key: string, buffer: number): void {
    this.#buffers.delete(key);
    this.#buffers.set(key, buffer);
  }

  #forget(key: string, buffer: number): void {
    if (this.#buffers.delete(key)) this.#detach(buffer);
  }

  #detach(buffer: number): void {
    this.#send({ type: "detach", body: new vsockenc.Detach({ buffer }) });
  }

  /** Sends an Attach or Configure. @throws RefusedError */
  #request(message: SessionMessage): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#send(message);
    });
  }

  /** Sends a Frame. Settles with FrameDone, and with the error if it came at the same time; then there is no answer. */
  async #submit(
    { pts, duration, forceKey }: HxfrFrame,
    buffer: number,
    inlineBytes: number,
    answer: OnAnswer,
  ): Promise<RefusedError | undefined> {
    if (this.#ended) return disconnected();
    this.#frame = nextSerial(this.#frame);
    const frame = this.#frame;
    const body = new vsockenc.Frame({
      frame,
      buffer,
      configuration: this.#serial,
      ptsNs: this.#nextPtsNs(pts),
      durationNs: duration > 0n && duration < MOST_STEP_NS ? Number(duration) : 0,
      forceKey: forceKey !== 0,
      inlineBytes,
    });
    const unanswered: Unanswered = { answer, done: undefined, error: undefined };
    this.#frames.set(frame, unanswered);
    await new Promise<void>((resolve) => {
      unanswered.done = resolve;
      this.#send({ type: "frame", body });
    });
    unanswered.done = undefined;
    if (unanswered.error !== undefined) this.#frames.delete(frame);
    return unanswered.error;
  }

  /** The session's time of a frame: as far behind the last as the client's. */
  #nextPtsNs(pts: bigint): number {
    const step = pts - (this.#clientPtsNs ?? pts);
    if (pts >= 0n) this.#clientPtsNs = pts;
    this.#ptsNs += step < LEAST_STEP_NS ? LEAST_STEP_NS : step > MOST_STEP_NS ? MOST_STEP_NS : step;
    return Number(this.#ptsNs);
  }

  #send(message: SessionMessage): void {
    // A request that was under way must not open another session.
    if (this.#ended) throw disconnected();
    this.#session ??= this.#open();
    this.#session.receive(message, 0);
  }

  #open(): SessionHandler {
    const current = (): boolean => this.#session === session;
    const session: SessionHandler = this.#openSession({
      send: (message) => current() && this.#receive(message),
      answer: (message, bulk) => current() && this.#receive(message, bulk),
      consumed: () => undefined,
      fail: (error) => {
        if (!current()) return;
        this.#log.warn(
          { code: error.code },
          `the session failed; the next request opens another: ${error.message}`,
        );
        this.#lose(new RefusedError(ErrorCode[error.code], error.message));
      },
    });
    return session;
  }

  #receive(message: OutgoingMessage, bulk?: Uint8Array): void {
    switch (message.type) {
      case "attached":
      case "configured":
        this.#waiting?.resolve();
        break;
      case "frameDone":
        this.#frames.get(message.body.frame ?? 0)?.done?.();
        break;
      case "packet":
        this.#answer(message.body.frame, { key: message.body.key ?? false, data: bulk ?? new Uint8Array() });
        break;
      case "dropped":
        this.#answer(message.body.frame, {
          error: new RefusedError(ErrorCode.ENCODER_FAILED, "the encoder returned nothing for the frame"),
        });
        break;
      case "error":
        this.#receiveError(message.body);
        break;
    }
  }

  #receiveError({ code, text, subject, id = 0 }: Partial<vsockenc.Error>): void {
    const error = new RefusedError(code ?? ErrorCode.INTERNAL_ERROR, text ?? "");
    if (subject !== ErrorSubject.FRAME_NUMBER) {
      this.#waiting?.reject(error);
      return;
    }
    const unanswered = this.#frames.get(id);
    // An error that comes with FrameDone is handled where that is waited for.
    if (unanswered?.done !== undefined) unanswered.error = error;
    else this.#answer(id, { error });
  }

  #answer(frame = 0, answer: HxfrAnswer): void {
    const unanswered = this.#frames.get(frame);
    this.#frames.delete(frame);
    unanswered?.answer(answer);
  }

  /** The session has ended; the next request opens another. */
  #lose(error: RefusedError): void {
    const session = this.#session;
    this.#session = undefined;
    this.#active = undefined;
    this.#inline = undefined;
    this.#buffers.clear();
    this.#incoming = undefined;
    this.#waiting?.reject(error);
    for (const [frame, unanswered] of [...this.#frames]) {
      if (unanswered.done === undefined) {
        this.#answer(frame, { error });
      } else {
        unanswered.error = error;
        unanswered.done();
      }
    }
    session?.end();
  }
}

const disconnected = (): RefusedError =>
  new RefusedError(ErrorCode.INTERNAL_ERROR, "the client has disconnected");

/** matrix_coefficients of an unknown matrix (ISO/IEC 23091-2). */
const UNKNOWN_MATRIX = 2;

interface Layout {
  readonly width: number;
  readonly height: number;
  readonly fourcc: number;
  readonly rgb: boolean;
  readonly planes: readonly { readonly offset: number; readonly stride: number }[];
  /** Up to the end of the last row, without and with its padding. */
  readonly bytes: number;
  readonly allBytes: number;
  /** Differs from that of every other layout. */
  readonly key: string;
  /** For messages. */
  readonly name: string;
}

/** @throws RefusedError; strides are checked at Attach */
function layoutOf({ width, height, format, stride }: HxfrFrame): Layout {
  const found = HXFR_PIXEL_FORMATS.find(({ fourcc }) => fourcc === format);
  if (found === undefined) {
    const known = HXFR_PIXEL_FORMATS.map(({ fourcc, name }) => `0x${fourcc.toString(16)} (${name})`);
    const text = `format is 0x${format.toString(16)}; expected ${known.join(", ")}`;
    throw new RefusedError(ErrorCode.UNSUPPORTED_FORMAT, text);
  }
  // Products of checked numbers are exact: at most 2^14 × 2^32.
  for (const [field, value] of Object.entries({ width, height })) {
    if (value < LIMITS.MIN_DIMENSION || value > LIMITS.MAX_DIMENSION) {
      const text = `${field} is ${value}; it must be between ${LIMITS.MIN_DIMENSION} and ${LIMITS.MAX_DIMENSION} pixels`;
      throw new RefusedError(ErrorCode.INVALID_VALUE, text);
    }
  }
  const planes: { offset: number; stride: number }[] = [];
  let bytes = 0;
  let allBytes = 0;
  for (const { vertical, horizontal, bytes: sample } of found.planes) {
    const rows = Math.ceil(height / vertical);
    planes.push({ offset: allBytes, stride });
    bytes = allBytes + stride * (rows - 1) + Math.ceil(width / horizontal) * sample;
    // GStreamer's luma has an even number of rows.
    allBytes += stride * (found.planes.length > 1 ? Math.ceil(height / 2) * (2 / vertical) : rows);
  }
  const key = `${width} ${height} ${format} ${stride}`;
  const name = `${found.name} of ${width}x${height} with stride ${stride}`;
  const { fourcc } = found;
  return { width, height, fourcc, rgb: found.planes.length === 1, planes, bytes, allBytes, key, name };
}
