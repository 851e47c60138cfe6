/**
 * Handles a session's messages about configuration, buffers and frames.
 *
 * Messages take effect in the order in which they were sent. Most do so at once; Attach (mapping), Configure
 * (opening an encoder), Drain, Flush, Probe, and a Frame that the exporter has to copy take time, and later messages
 * wait in a queue. Its bound follows from the
 * limits on frames in flight and buffers. Behind an inline frame whose pixels are incomplete, everything but these pixels
 * waits in the same queue. The credit for pixels is returned when they have been copied into their frame.
 */

import type { Logger } from "pino";
import { errorText } from "../../common/error-text.ts";
import { ANSWER_LINES_PER_SECOND, limitLines } from "../../common/log-limit.ts";
import { LIMITS } from "../../proto/limits.ts";
import type { DataMessage } from "../../proto/messages.ts";
import { vsockenc } from "../../proto/protobuf.ts";
import { isSerialAfter } from "../../proto/serial-numbers.ts";
import {
  type EncodedPacket,
  type EncoderBackend,
  type EncoderConfiguration,
  type EncoderEvent,
  EncoderFailedError,
  type EncoderSession,
  type FrameSource,
} from "../encoders/encoder.ts";
import { type RenderedFrame, RenderedPicture } from "../export/rendered-picture.ts";
import type { ResourceSource } from "../export/vm-resources.ts";
import { type InlineFrame, InlinePicture } from "../native/inline-picture.ts";
import type { PictureBudget, PictureTier } from "../native/picture.ts";
import { BufferTable } from "./buffers.ts";
import type { EncoderGate } from "./encoder-gate.ts";
import { internalError, RequestError, SessionError, wireErrorCode } from "./errors.ts";
import { IncomingPixels } from "./inline-pixels.ts";
import type { StreamMetrics } from "./metrics.ts";
import type { StreamObserver } from "./relay-viewer.ts";
import { checkAttach, checkConfigure, configuredBody, TIERS } from "./requests.ts";
import { type SessionHandler, type SessionMessage, type SessionOutput, truncate } from "./session.ts";
import type { TimeShare } from "./time-share.ts";
import type { Turnstile } from "./turnstile.ts";

const { ErrorCode, ErrorSubject, DropReason } = vsockenc;

/** An honest guest has at most Attach, Detach and Frame for every buffer, and some configuration, waiting. */
export const MAX_WAITING_MESSAGES = 3 * LIMITS.MAX_ATTACHED_BUFFERS + LIMITS.MAX_IN_FLIGHT_FRAMES;

/** Probes of a VM that may wait for the one that reads its buffer. */
export const MAX_WAITING_PROBES = 32;

export interface StreamOptions {
  readonly backend: EncoderBackend;
  /** Common to all sessions of the link. */
  readonly gate: EncoderGate;
  /** Common to all sessions of the VM, with one place: a Probe takes a thread of the pool that all VMs share. */
  readonly probes: Turnstile;
  /** The VM's. */
  readonly budget: PictureBudget;
  /** Time for mapping pictures, of the VM. */
  readonly mapping: TimeShare;
  readonly resources: ResourceSource | undefined;
  readonly metrics: StreamMetrics;
  readonly observer: StreamObserver | undefined;
  readonly log: Logger;
}

/** A frame that was handed to an encoder. */
interface InFlight {
  readonly buffer: number;
  readonly ptsNs: number;
  readonly tier: PictureTier;
  readonly encoder: Encoder;
  /** Of the exporter's copy. */
  readonly times: RenderedFrame["times"] | undefined;
  /** Called once the encoder has read the frame: frees the exporter's copy, or the inline pixels. */
  readonly release: () => void;
  /** FrameDone was sent. */
  done: boolean;
}

/** The encoder of the active configuration. */
interface Encoder {
  readonly session: EncoderSession;
  configuration: EncoderConfiguration;
  serial: number;
}

export class Stream implements SessionHandler {
  readonly #output: SessionOutput;
  readonly #options: StreamOptions;
  readonly #log: Logger;
  readonly #answerLog: Logger;
  readonly #metrics: StreamMetrics;
  readonly #buffers: BufferTable;
  /** Messages behind an earlier, slow one, with the credit to return for each. */
  readonly #waiting: { readonly message: SessionMessage; readonly credit: number }[] = [];
  /** The inline frame whose pixels are incomplete; everything but Data waits for them. */
  #incoming: IncomingPixels | undefined;
  /** Frames that were handed to an encoder, by number. */
  readonly #inFlight = new Map<number, InFlight>();
  #busy = false;
  #ended = false;
  #encoder: Encoder | undefined;
  #lastSerial = 0;
  #lastFrame: number | undefined;
  #lastPtsNs = -1;
  /** The next frame must be a key frame: the encoder is new or has failed, or an observer needs one. */
  #needKeyFrame = true;

  constructor(output: SessionOutput, options: StreamOptions) {
    this.#output = output;
    this.#options = options;
    this.#log = options.log;
    this.#answerLog = limitLines(options.log, ANSWER_LINES_PER_SECOND);
    this.#metrics = options.metrics;
    this.#buffers = new BufferTable(options.resources, options, options.metrics);
    this.#metrics.sessionOpened();
    options.observer?.onOpen(() => {
      this.#needKeyFrame = true;
    });
  }

  receive(message: SessionMessage, credit: number): void {
    if (this.#busy || (this.#incoming !== undefined && message.type !== "data")) {
      this.#wait(message, credit);
      return;
    }
    try {
      const work = this.#perform(message);
      this.#output.consumed(credit);
      if (work !== undefined) void this.#finish(work);
      else if (this.#incoming === undefined && this.#waiting.length > 0) void this.#finish(Promise.resolve());
    } catch (error) {
      this.#fail(error);
    }
  }

  #wait(message: SessionMessage, credit: number): void {
    if (this.#waiting.length >= MAX_WAITING_MESSAGES) {
      const text = `more than ${MAX_WAITING_MESSAGES} messages wait for the host`;
      throw new SessionError("LIMIT_EXCEEDED", text);
    }
    // Data is a view of memory that the parser reuses.
    const own = message.type === "data" ? { ...message, bytes: Buffer.from(message.bytes) } : message;
    this.#waiting.push({ message: own, credit });
  }

  end(): void {
    this.#ended = true;
    this.#metrics.sessionEnded();
    this.#options.observer?.onEnd();
    this.#waiting.length = 0;
    this.#incoming = undefined;
    this.#buffers.close();
    void this.#closeEncoder();
  }

  /** Waits for slow work, then processes the messages that have queued behind it. */
  async #finish(work: Promise<void>): Promise<void> {
    this.#busy = true;
    try {
      await work;
      while (!this.#ended) {
        // Pixels need not wait for messages between them and their frame.
        const dataOnly = this.#incoming !== undefined;
        const index = dataOnly ? this.#waiting.findIndex(({ message }) => message.type === "data") : 0;
        const next = index < 0 ? undefined : this.#waiting.splice(index, 1)[0];
        if (next === undefined) break;
        await this.#perform(next.message);
        this.#output.consumed(next.credit);
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#busy = false;
    }
  }

  #fail(error: unknown): void {
    if (error instanceof SessionError) {
      this.#output.fail(error);
      return;
    }
    this.#log.error({ err: error }, "internal error in a session; please report it");
    this.#output.fail(internalError(error));
  }

  /** @returns a promise when the message takes time */
  #perform(message: SessionMessage): Promise<void> | undefined {
    switch (message.type) {
      case "frame":
        return this.#frame(message.body);
      case "data":
        this.#data(message);
        return undefined;
      case "probe":
        return this.#probe(message.body.buffer);
      case "attach":
        return this.#attach(message.body);
      case "detach":
        this.#buffers.detach(message.body.buffer);
        return undefined;
      case "configure":
        return this.#configure(message.body);
      case "drain":
      case "flush":
        return this.#empty(message.type, message.body.token);
      default:
        throw new SessionError("PROTOCOL_VIOLATION", `unexpected ${message.type}: only the host sends it`);
    }
  }

  async #attach(body: vsockenc.Attach): Promise<void> {
    try {
      const request = checkAttach(body);
      const { tier, runs } = await this.#buffers.attach(request);
      const { buffer } = request;
      this.#log.debug({ buffer, tier, runs }, "attached");
      this.#output.send({ type: "attached", body: { buffer, tier: TIERS[tier], runs } });
    } catch (error) {
      this.#answerError(ErrorSubject.BUFFER, body.buffer, error);
    }
  }

  async #probe(buffer: number): Promise<void> {
    const { probes } = this.#options;
    try {
      if (probes.waiting >= MAX_WAITING_PROBES) {
        const text = `${MAX_WAITING_PROBES} Probes of this VM wait already, which is the limit: probe again later`;
        throw new RequestError("LIMIT_EXCEEDED", text);
      }
      await probes.enter();
      try {
        if (this.#ended) return;
        const { crc, bytes } = await this.#buffers.get(buffer).checksum();
        this.#output.send({ type: "probed", body: { buffer, crc, bytes } });
      } finally {
        probes.leave();
      }
    } catch (error) {
      this.#answerError(ErrorSubject.BUFFER, buffer, error);
    }
  }

  async #configure(body: vsockenc.Configure): Promise<void> {
    if (!isSerialAfter(body.serial, this.#lastSerial)) {
      const text = `configuration ${body.serial} after ${this.#lastSerial}; serials must increase`;
      throw new SessionError("PROTOCOL_VIOLATION", text);
    }
    this.#lastSerial = body.serial;
    try {
      const configuration = checkConfigure(body);
      const description = await this.#applyConfiguration(configuration, body.serial);
      this.#output.send({ type: "configured", body: configuredBody(body.serial, description) });
    } catch (error) {
      this.#answerError(ErrorSubject.CONFIGURATION, body.serial, error);
    }
  }

  async #applyConfiguration(configuration: EncoderConfiguration, serial: number) {
    const current = this.#encoder;
    if (current?.session.reconfigure(configuration)) {
      current.configuration = configuration;
      current.serial = serial;
      return current.session.description;
    }
    if (current !== undefined) {
      await current.session.drain();
      await this.#closeEncoder();
    }
    const { backend, gate } = this.#options;
    const listener = (event: EncoderEvent): void => this.#onEncoderEvent(event);
    const session = await gate.open(backend, configuration, listener, () => !this.#ended);
    if (session === undefined) throw new RequestError("ENCODER_UNAVAILABLE", "the session ended meanwhile");
    if (this.#ended) {
      await gate.close(session);
      return session.description;
    }
    this.#encoder = { session, configuration, serial };
    this.#metrics.encoderOpened(session.description);
    this.#needKeyFrame = true;
    this.#log.info(session.description, "encoder opened");
    return session.description;
  }

  async #empty(how: "drain" | "flush", token: number): Promise<void> {
    await this.#encoder?.session[how]();
    this.#output.answer({ type: how === "drain" ? "drained" : "flushed", body: { token } });
  }

  #frame(body: vsockenc.Frame): Promise<void> | undefined {
    const { frame } = body;
    if (this.#lastFrame !== undefined && !isSerialAfter(frame, this.#lastFrame)) {
      const text = `frame ${frame} after frame ${this.#lastFrame}; numbers must increase`;
      throw new SessionError("PROTOCOL_VIOLATION", text);
    }
    if (this.#inFlight.size >= LIMITS.MAX_IN_FLIGHT_FRAMES) {
      throw new SessionError("LIMIT_EXCEEDED", `more than ${LIMITS.MAX_IN_FLIGHT_FRAMES} frames in flight`);
    }
    this.#lastFrame = frame;
    this.#metrics.frameReceived();
    let pixels: InlineFrame | undefined;
    try {
      const picture = this.#buffers.get(body.buffer);
      const expected = picture instanceof InlinePicture ? picture.bytes : 0;
      if (body.inlineBytes !== expected) {
        const text = `inline_bytes is ${body.inlineBytes}; expected ${expected} for buffer ${body.buffer}`;
        throw new RequestError("INVALID_VALUE", text);
      }
      if (picture instanceof RenderedPicture) return this.#encodeRendered(body, picture);
      if (picture instanceof InlinePicture) pixels = this.#beginInline(body, picture);
      else this.#encode(body, picture, { tier: picture.tier });
    } catch (error) {
      this.#rejectFrame(frame, error);
    }
    if (body.inlineBytes > 0) this.#incoming = new IncomingPixels(body, pixels);
    return undefined;
  }

  /** The guest gets its buffer back when the exporter has copied it. */
  async #encodeRendered(body: vsockenc.Frame, picture: RenderedPicture): Promise<void> {
    let rendered: RenderedFrame | undefined;
    try {
      this.#encoderFor(body);
      rendered = await picture.read();
      if (this.#ended) throw new RequestError("NO_SUCH_RESOURCE", "the session ended meanwhile");
      const { times } = rendered;
      this.#encode(body, rendered.picture, { tier: "resource-read", times, release: () => rendered?.done() });
      this.#frameDone(body.frame);
    } catch (error) {
      rendered?.done();
      if (!this.#ended) this.#rejectFrame(body.frame, error);
    }
  }

  /** An inline buffer takes one frame at a time, so that a session stages no more than it has attached. */
  #beginInline({ frame, buffer }: vsockenc.Frame, picture: InlinePicture): InlineFrame {
    for (const [other, inFlight] of this.#inFlight) {
      if (inFlight.buffer !== buffer || inFlight.done) continue;
      const text = `frame ${frame} uses inline buffer ${buffer} before the FrameDone of frame ${other}`;
      throw new SessionError("PROTOCOL_VIOLATION", text);
    }
    return picture.beginFrame();
  }

  #data(message: DataMessage): void {
    const incoming = this.#incoming;
    if (incoming === undefined) {
      const text = `unexpected Data of frame ${message.frame}: no pixels are due`;
      throw new SessionError("PROTOCOL_VIOLATION", text);
    }
    if (!incoming.add(message)) return;
    this.#incoming = undefined;
    if (incoming.rejected) return;
    const { frame, pixels } = incoming;
    try {
      if (pixels === undefined) {
        throw new RequestError("UNKNOWN_BUFFER", `buffer ${frame.buffer} is no longer attached`);
      }
      this.#encode(frame, pixels, { tier: "inline", release: () => incoming.close() });
    } catch (error) {
      incoming.close();
      this.#rejectFrame(frame.frame, error);
    }
  }

  #rejectFrame(frame: number, error: unknown): void {
    if (error instanceof SessionError) throw error;
    this.#inFlight.delete(frame);
    this.#output.send({ type: "frameDone", body: { frame } });
    this.#answerError(ErrorSubject.FRAME_NUMBER, frame, error);
  }

  /** @throws RequestError where the frame cannot be encoded now */
  #encoderFor(body: vsockenc.Frame): Encoder {
    const encoder = this.#encoder;
    if (encoder === undefined || encoder.serial !== body.configuration) {
      throw new RequestError("UNKNOWN_CONFIGURATION", `configuration ${body.configuration} is not active`);
    }
    if (!Number.isSafeInteger(body.ptsNs) || body.ptsNs <= this.#lastPtsNs) {
      throw new RequestError("INVALID_VALUE", `pts_ns is ${body.ptsNs}; it must exceed ${this.#lastPtsNs}`);
    }
    return encoder;
  }

  #encode(
    body: vsockenc.Frame,
    source: FrameSource,
    { tier, times, release = () => undefined }: Pick<InFlight, "tier"> & Partial<InFlight>,
  ): void {
    const encoder = this.#encoderFor(body);
    const { frame, buffer, ptsNs, durationNs } = body;
    this.#inFlight.set(frame, { buffer, ptsNs, tier, encoder, times, release, done: false });
    const forceKeyFrame = body.forceKey || this.#needKeyFrame;
    encoder.session.encode(source, { frame, ptsNs, durationNs, forceKeyFrame });
    this.#lastPtsNs = ptsNs;
    this.#needKeyFrame = false;
  }

  /** No call waits for what an encoder reports. */
  #onEncoderEvent(event: EncoderEvent): void {
    try {
      this.#encoderEvent(event);
    } catch (error) {
      this.#fail(error);
    }
  }

  #encoderEvent(event: EncoderEvent): void {
    switch (event.kind) {
      case "read":
        this.#frameRead(event.frame);
        break;
      case "packet":
        this.#packet(event);
        break;
      case "dropped":
        this.#dropped(event.frame, event.reason);
        break;
      case "frame-failed":
        this.#needKeyFrame = true;
        this.#frameRead(event.frame);
        this.#inFlight.delete(event.frame);
        this.#answerError(ErrorSubject.FRAME_NUMBER, event.frame, new EncoderFailedError(event.message));
        break;
      case "failed":
        this.#output.fail(new SessionError("ENCODER_FAILED", event.message));
        break;
      case "replaced":
        this.#metrics.encoderClosed(event.from);
        this.#metrics.encoderOpened(event.to);
        this.#log.info(event.to, "encoder replaced");
        break;
      case "note":
        this.#log.info(`encoder: ${event.message}`);
        break;
    }
  }

  #dropped(frame: number, reason: "flushed" | "encoder"): void {
    this.#frameRead(frame);
    this.#inFlight.delete(frame);
    this.#metrics.frameDropped(reason);
    this.#options.observer?.onDropped(reason);
    const code = reason === "flushed" ? DropReason.FLUSHED_BY_GUEST : DropReason.ENCODER_DROPPED;
    this.#output.answer({ type: "dropped", body: { frame, reason: code } });
  }

  /** The encoder has read the frame, or never will. */
  #frameRead(frame: number): void {
    this.#inFlight.get(frame)?.release();
    this.#frameDone(frame);
  }

  #frameDone(frame: number): void {
    const inFlight = this.#inFlight.get(frame);
    if (inFlight === undefined || inFlight.done) return;
    inFlight.done = true;
    this.#output.send({ type: "frameDone", body: { frame } });
  }

  #packet(packet: EncodedPacket): void {
    const { frame, key, queueUs, convertUs, encodeUs } = packet;
    this.#frameRead(frame);
    const inFlight = this.#inFlight.get(frame);
    this.#inFlight.delete(frame);
    const times = inFlight?.times;
    const readUs = times === undefined ? 0 : times.waitUs + times.copyUs;
    const body = { frame, size: packet.data.length, key, readUs, queueUs, convertUs, encodeUs };
    this.#log.trace(body, "packet");
    this.#metrics.frameEncoded(packet, times);
    this.#output.answer({ type: "packet", body }, packet.data);
    const { observer } = this.#options;
    if (inFlight === undefined || observer === undefined || this.#ended) return;
    const { ptsNs, tier, encoder } = inFlight;
    const { codec } = encoder.configuration;
    observer.onPacket({ packet, ptsNs, tier, readUs, codec, encoder: encoder.session.description });
  }

  /** Answers a request with an Error; an error that the request did not cause ends the session instead. */
  #answerError(subject: vsockenc.ErrorSubject, id: number, error: unknown): void {
    const code = wireErrorCode(error);
    if (code === undefined) throw error;
    if (subject === ErrorSubject.FRAME_NUMBER) this.#metrics.frameFailed(code);
    const text = truncate(errorText(error));
    this.#answerLog.warn({ subject: ErrorSubject[subject], id, code }, text);
    this.#output.answer({ type: "error", body: { code: ErrorCode[code], text, fatal: false, subject, id } });
  }

  async #closeEncoder(): Promise<void> {
    const encoder = this.#encoder;
    if (encoder === undefined) return;
    this.#encoder = undefined;
    this.#metrics.encoderClosed(encoder.session.description);
    try {
      await this.#options.gate.close(encoder.session);
    } catch (error) {
      this.#log.error({ err: error }, "cannot close the encoder");
    }
  }
}
