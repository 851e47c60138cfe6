/**
 * The meaning of a session's messages: configuration, buffers, frames.
 *
 * Messages take effect in the order in which they were sent. Most do so at once; Attach (mapping), Configure
 * (opening an encoder), Drain and Flush take time, and what follows them waits in a queue. An honest guest is
 * bounded by its frames in flight and its buffers, so the queue has that bound too.
 */
import type { Logger } from "pino";
import { LIMITS } from "../../proto/limits.ts";
import { vsockenc } from "../../proto/protobuf.ts";
import type {
  EncodedPacket,
  EncoderBackend,
  EncoderConfiguration,
  EncoderError,
  EncoderEvents,
  EncoderSession,
} from "../encoders/encoder.ts";
import { BufferTable } from "./buffers.ts";
import { RequestError, SessionError, wireErrorCode } from "./errors.ts";
import type { StreamMetrics } from "./metrics.ts";
import { checkAttach, checkConfigure } from "./requests.ts";
import type { ResourceSource } from "./resources.ts";
import { type SessionHandler, type SessionMessage, type SessionOutput, truncate } from "./session.ts";

const { ErrorCode, ErrorSubject, DropReason, SourceTier } = vsockenc;

/** Attach, Detach and Frame for every buffer, and some configuration, may wait; an honest guest has no more. */
const MAX_WAITING_MESSAGES = 3 * LIMITS.MAX_ATTACHED_BUFFERS + LIMITS.MAX_IN_FLIGHT_FRAMES;

export interface StreamOptions {
  readonly backend: EncoderBackend;
  readonly resources: ResourceSource | undefined;
  readonly metrics: StreamMetrics;
  readonly log: Logger;
}

/** The encoder of the configuration in force. */
interface Encoder {
  readonly session: EncoderSession;
  configuration: EncoderConfiguration;
  serial: number;
}

export class Stream implements SessionHandler {
  readonly #output: SessionOutput;
  readonly #options: StreamOptions;
  readonly #log: Logger;
  readonly #metrics: StreamMetrics;
  readonly #buffers: BufferTable;
  readonly #waiting: SessionMessage[] = [];
  /** Frames that the encoder has, and whether it has read them. */
  readonly #inFlight = new Map<number, { read: boolean }>();
  #busy = false;
  #ended = false;
  #encoder: Encoder | undefined;
  #lastSerial = 0;
  #lastFrame = -1;
  #lastPtsNs = -1;
  /** The next frame must be a key frame: the encoder is new, or has failed. */
  #needKeyFrame = true;

  constructor(output: SessionOutput, options: StreamOptions) {
    this.#output = output;
    this.#options = options;
    this.#log = options.log;
    this.#metrics = options.metrics;
    this.#buffers = new BufferTable(options.resources, options.metrics);
    this.#metrics.sessionOpened();
  }

  receive(message: SessionMessage): void {
    if (this.#busy) {
      if (this.#waiting.length >= MAX_WAITING_MESSAGES) {
        throw new SessionError(
          "LIMIT_EXCEEDED",
          `more than ${MAX_WAITING_MESSAGES} messages ahead of the host`,
        );
      }
      // A view of the parser's memory would not outlive this call; Data is refused below in any case.
      this.#waiting.push(message);
      return;
    }
    const work = this.#perform(message);
    if (work !== undefined) void this.#finish(work);
  }

  end(): void {
    this.#ended = true;
    this.#metrics.sessionEnded();
    this.#waiting.length = 0;
    this.#buffers.close();
    void this.#closeEncoder();
  }

  /** Waits for slow work, then takes up what has queued behind it. */
  async #finish(work: Promise<void>): Promise<void> {
    this.#busy = true;
    try {
      await work;
      for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
        if (this.#ended) break;
        await this.#perform(next);
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
    const reason = error instanceof Error ? error.message : String(error);
    this.#log.error({ err: error }, "a session broke");
    this.#output.fail(new SessionError("INTERNAL_ERROR", `the relay failed: ${reason}; its log says more`));
  }

  /** @returns a promise when the message takes time */
  #perform(message: SessionMessage): Promise<void> | undefined {
    switch (message.type) {
      case "frame":
        this.#frame(message.body);
        return undefined;
      case "attach":
        return this.#attach(message.body);
      case "detach":
        this.#buffers.detach(message.body.buffer);
        return undefined;
      case "configure":
        return this.#configure(message.body);
      case "drain":
        return this.#drain(message.body.token);
      case "flush":
        return this.#flush(message.body.token);
      default:
        throw new SessionError("PROTOCOL_VIOLATION", `${message.type} is not for the host`);
    }
  }

  async #attach(body: vsockenc.Attach): Promise<void> {
    try {
      const request = checkAttach(body);
      const picture = await this.#buffers.attach(request);
      this.#log.debug({ buffer: body.buffer, runs: picture.runs }, "attached");
      this.#output.send({
        type: "attached",
        body: { buffer: body.buffer, tier: SourceTier.RESOURCE, runs: picture.runs },
      });
    } catch (error) {
      this.#answerError(ErrorSubject.BUFFER, body.buffer, error);
    }
  }

  async #configure(body: vsockenc.Configure): Promise<void> {
    if (body.serial <= this.#lastSerial) {
      throw new SessionError(
        "PROTOCOL_VIOLATION",
        `configuration ${body.serial} follows ${this.#lastSerial}`,
      );
    }
    this.#lastSerial = body.serial;
    try {
      const configuration = checkConfigure(body);
      const description = await this.#applyConfiguration(configuration, body.serial);
      this.#output.send({
        type: "configured",
        body: {
          serial: body.serial,
          encoder: description.encoder,
          hardware: description.hardware,
          width: description.width,
          height: description.height,
          colorimetry: { ...description.colorimetry },
        },
      });
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
    const session = await this.#options.backend.open(configuration, this.#events());
    if (this.#ended) {
      await session.close();
      return session.description;
    }
    this.#encoder = { session, configuration, serial };
    this.#metrics.encoderOpened(session.description);
    this.#needKeyFrame = true;
    this.#log.info({ ...session.description, bitrateKbps: configuration.bitrateKbps }, "encoder opened");
    return session.description;
  }

  async #drain(token: number): Promise<void> {
    await this.#encoder?.session.drain();
    this.#output.answer({ type: "drained", body: { token } });
  }

  async #flush(token: number): Promise<void> {
    await this.#encoder?.session.flush();
    this.#output.answer({ type: "flushed", body: { token } });
  }

  #frame(body: vsockenc.Frame): void {
    const { frame } = body;
    if (frame <= this.#lastFrame) {
      throw new SessionError("PROTOCOL_VIOLATION", `frame ${frame} follows frame ${this.#lastFrame}`);
    }
    if (this.#inFlight.size >= LIMITS.MAX_IN_FLIGHT_FRAMES) {
      throw new SessionError("LIMIT_EXCEEDED", `more than ${LIMITS.MAX_IN_FLIGHT_FRAMES} frames in flight`);
    }
    this.#lastFrame = frame;
    this.#metrics.frameReceived();
    try {
      this.#encode(body);
    } catch (error) {
      if (error instanceof SessionError) throw error;
      this.#inFlight.delete(frame);
      this.#output.send({ type: "frameDone", body: { frame } });
      this.#answerError(ErrorSubject.FRAME_NUMBER, frame, error);
    }
  }

  #encode(body: vsockenc.Frame): void {
    const encoder = this.#encoder;
    if (encoder === undefined || encoder.serial !== body.configuration) {
      throw new RequestError("UNKNOWN_CONFIGURATION", `configuration ${body.configuration} is not in force`);
    }
    if (!Number.isSafeInteger(body.ptsNs) || body.ptsNs <= this.#lastPtsNs) {
      throw new RequestError("INVALID_VALUE", `pts_ns is ${body.ptsNs}; it must exceed ${this.#lastPtsNs}`);
    }
    const picture = this.#buffers.get(body.buffer);
    this.#inFlight.set(body.frame, { read: false });
    encoder.session.encode(picture, {
      frame: body.frame,
      ptsNs: body.ptsNs,
      durationNs: body.durationNs,
      forceKeyFrame: body.forceKey || this.#needKeyFrame,
    });
    this.#lastPtsNs = body.ptsNs;
    this.#needKeyFrame = false;
  }

  #events(): EncoderEvents {
    return {
      onFrameRead: (frame) => this.#frameRead(frame),
      onPacket: (packet) => this.#packet(packet),
      onDropped: (frame, reason) => {
        this.#frameRead(frame);
        this.#inFlight.delete(frame);
        this.#metrics.frameDropped(reason);
        const code = reason === "flushed" ? DropReason.FLUSHED_BY_GUEST : DropReason.ENCODER_DROPPED;
        this.#output.answer({ type: "dropped", body: { frame, reason: code } });
      },
      onError: (frame, error) => this.#encoderError(frame, error),
    };
  }

  #frameRead(frame: number): void {
    const inFlight = this.#inFlight.get(frame);
    if (inFlight === undefined || inFlight.read) return;
    inFlight.read = true;
    this.#output.send({ type: "frameDone", body: { frame } });
  }

  #packet(packet: EncodedPacket): void {
    this.#frameRead(packet.frame);
    this.#inFlight.delete(packet.frame);
    const { frame, key, queueUs, convertUs, encodeUs } = packet;
    const body = { frame, size: packet.data.length, key, queueUs, convertUs, encodeUs };
    this.#log.trace(body, "packet");
    this.#metrics.frameEncoded(packet);
    this.#output.answer({ type: "packet", body }, packet.data);
  }

  #encoderError(frame: number | undefined, error: EncoderError): void {
    this.#needKeyFrame = true;
    if (frame === undefined) {
      this.#output.fail(new SessionError("ENCODER_FAILED", error.message));
      return;
    }
    this.#frameRead(frame);
    this.#inFlight.delete(frame);
    this.#answerError(ErrorSubject.FRAME_NUMBER, frame, error);
  }

  /** Answers a request with an Error; what is not a request's fault ends the session instead. */
  #answerError(subject: vsockenc.ErrorSubject, id: number, error: unknown): void {
    const code = wireErrorCode(error);
    if (code === undefined) throw error;
    if (subject === ErrorSubject.FRAME_NUMBER) this.#metrics.frameFailed(code);
    const text = truncate(error instanceof Error ? error.message : String(error));
    this.#log.warn({ subject: ErrorSubject[subject], id, code }, text);
    this.#output.answer({ type: "error", body: { code: ErrorCode[code], text, fatal: false, subject, id } });
  }

  async #closeEncoder(): Promise<void> {
    const encoder = this.#encoder;
    if (encoder === undefined) return;
    this.#encoder = undefined;
    this.#metrics.encoderClosed(encoder.session.description);
    try {
      await encoder.session.close();
    } catch (error) {
      this.#log.error({ err: error }, "the encoder did not close in order");
    }
  }
}
