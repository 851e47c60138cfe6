/**
 * The relay's side of sessions on one link (PROTOCOL.md, "Opening" and "Credits").
 *
 * A link has at most one session, that of the newest Hello. This class opens and ends it, numbers and paces the
 * outgoing messages and detects silence; the handler (stream.ts) processes the messages.
 *
 * There are two ways to send. Answers about frames must keep their order and some are bulk, so they queue until credit
 * allows them. Everything else is sent at once.
 */
import type { Logger } from "pino";
import { RateLimit } from "../../common/rate-limit.ts";
import type { ByteQueue } from "../../proto/byte-queue.ts";
import {
  type Envelope,
  encodeDataHead,
  encodeMessage,
  FLUSH_BYTES,
  MAX_DATA_BYTES,
  type ParserEvent,
  type Received,
  takeMessage,
} from "../../proto/framing.ts";
import { LIMITS } from "../../proto/limits.ts";
import type { DataMessage, OutgoingMessage, ProtobufMessage } from "../../proto/messages.ts";
import { vsockenc } from "../../proto/protobuf.ts";
import { nextSerial } from "../../proto/serial-numbers.ts";
import type { LinkServer, ServedLink } from "./connection.ts";
import { ReceiveCredit, SendCredit } from "./credits.ts";
import { internalError, SessionError } from "./errors.ts";

/** The messages for a handler: all that the session does not process itself. */
export type SessionMessage = Exclude<
  ProtobufMessage | DataMessage,
  { type: "greeting" | "hello" | "welcome" | "ping" | "pong" | "bye" | "credit" | "error" }
>;

/** A handler's view of its session. */
export interface SessionOutput {
  /** Sends a control message at once. */
  send(message: OutgoingMessage): void;
  /** Sends behind all earlier answers, when credit allows; `bulk` follows in Data messages of frame `body.frame`. */
  answer(message: OutgoingMessage, bulk?: Uint8Array): void;
  /** Returns credit for processed bulk messages. */
  consumed(credit: number): void;
  /** Ends the session with a fatal Error. */
  fail(error: SessionError): void;
}

/** Processes the messages of one session. */
export interface SessionHandler {
  /**
   * Processes a message.
   *
   * @param credit bytes to return by SessionOutput.consumed() when the message has been processed
   * @throws SessionError if the message violates the protocol
   */
  receive(message: SessionMessage, credit: number): void;
  /** The session is over; later output is discarded. */
  end(): void;
}

export interface SessionOptions {
  readonly hostBootId: number;
  /** Contents of Welcome; this class adds version, boot id and window. */
  readonly welcome: () => Partial<vsockenc.Welcome>;
  readonly open: (output: SessionOutput) => SessionHandler;
  /** As of LinkServer. */
  readonly meter?: LinkServer["meter"];
  readonly log: Logger;
}

/** Answers about frames, and some Drained and Flushed among them. */
export const MAX_WAITING_ANSWERS = 2 * LIMITS.MAX_IN_FLIGHT_FRAMES;
const TICK_MS = LIMITS.PING_INTERVAL_MS / 2;

interface Answer {
  readonly message: OutgoingMessage;
  readonly bulk: Uint8Array | undefined;
}

/** One open epoch. */
interface OpenSession {
  readonly epoch: number;
  readonly handler: SessionHandler;
  readonly sendCredit: SendCredit;
  readonly receiveCredit: ReceiveCredit;
  readonly answers: Answer[];
  /** Sent bytes of the first answer's bulk; -1 until its message has been sent. */
  bulkSent: number;
  sequenceOut: number;
  sequenceIn: number;
  /** The answer to a repeated Hello. */
  readonly welcome: Buffer;
}

/** Serves the sessions of one link, one after the other. */
export class SessionServer implements LinkServer {
  readonly #options: SessionOptions;
  readonly #log: Logger;
  #link: ServedLink | undefined;
  #session: OpenSession | undefined;
  /** Ticks since the last bytes. Not a time: a relay that got no processor for a while did not read what had come. */
  #silentTicks = 0;
  readonly #openings = new RateLimit(LIMITS.SESSIONS_PER_SECOND);
  #lastSent = 0;
  #pingToken = 0;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#log = options.log;
  }

  get meter(): LinkServer["meter"] {
    return this.#options.meter;
  }

  /** Whether a guest has an open session. */
  get isOpen(): boolean {
    return this.#session !== undefined;
  }

  onConnect(link: ServedLink): void {
    this.#link = link;
    this.#write([FLUSH_BYTES]);
    this.#greet();
  }

  onDisconnect(): void {
    this.#end("the link was disconnected");
  }

  step(input: ByteQueue): boolean {
    const event = takeMessage(input);
    if (event === undefined) return false;
    if (event.kind !== "noise") this.#receive(event);
    return true;
  }

  onTick(): void {
    const now = performance.now();
    const session = this.#session;
    if (session === undefined) {
      if (now - this.#lastSent >= LIMITS.GREETING_INTERVAL_MS) this.#greet();
      return;
    }
    this.#silentTicks += 1;
    if (this.#silentTicks * TICK_MS >= LIMITS.SILENCE_MS) {
      this.#end(`the guest was silent for ${LIMITS.SILENCE_MS / 1000} s`);
    } else if (now - this.#lastSent >= LIMITS.PING_INTERVAL_MS) {
      this.#pingToken = (this.#pingToken + 1) >>> 0;
      this.#sendNow(session, { type: "ping", body: { token: this.#pingToken } });
    }
  }

  fail(error: SessionError): void {
    if (this.#session !== undefined) this.#fail(this.#session, error);
  }

  /** Ends the session with a Bye, because the relay is stopping. */
  close(): void {
    if (this.#session === undefined) return;
    this.#sendNow(this.#session, { type: "bye", body: { text: "the relay is stopping" } });
    this.#end("the relay is stopping");
  }

  #receive(event: Exclude<ParserEvent, { kind: "noise" }>): void {
    if (event.kind === "message" && event.message.type === "hello") {
      this.#hello(event.envelope.epoch, event.message.body, LIMITS.PROTOCOL_VERSION);
      return;
    }
    if (event.kind === "older") {
      this.#hello(event.epoch, event.hello, event.version);
      return;
    }
    const session = this.#session;
    if (session === undefined || event.envelope.epoch !== session.epoch) return;
    this.#silentTicks = 0;
    try {
      const expected = nextSerial(session.sequenceIn);
      if (event.envelope.sequence !== expected) {
        // Bytes were lost on the way. The guest recovers with a new epoch, without an Error.
        this.#end(`message ${expected} is missing`);
        return;
      }
      session.sequenceIn = expected;
      // A message of a later version: it counts, and is ignored.
      if (event.kind === "unknown") return;
      if (event.kind === "malformed") throw new SessionError("PROTOCOL_VIOLATION", event.error.message);
      this.#dispatch(session, event);
    } catch (error) {
      if (!(error instanceof SessionError)) throw error;
      this.#fail(session, error);
    }
  }

  #dispatch(session: OpenSession, { message, bytes }: Received): void {
    switch (message.type) {
      case "ping":
        this.#sendNow(session, { type: "pong", body: { token: message.body.token } });
        return;
      case "pong":
        return;
      case "credit":
        session.sendCredit.grant(message.body.grantedBytes);
        this.#flushAnswers(session);
        return;
      case "bye":
        this.#end(`Bye from the guest: ${message.body.text}`);
        return;
      case "error":
        this.#log.warn({ code: message.body.code, text: message.body.text }, "error from the guest");
        if (message.body.fatal) this.#end("the guest reported a fatal error");
        return;
      case "hello":
      case "greeting":
      case "welcome":
        throw new SessionError("PROTOCOL_VIOLATION", `unexpected ${message.type} within a session`);
      case "frame":
      case "data":
        if (!session.receiveCredit.receive(bytes)) {
          throw new SessionError("LIMIT_EXCEEDED", "bulk bytes exceed the granted credit");
        }
        session.handler.receive(message, bytes);
        return;
      default:
        session.handler.receive(message, 0);
    }
  }

  /** @param form version whose form the Hello has, and the answer to it if there is no session */
  #hello(epoch: number, hello: vsockenc.Hello, form: number): void {
    if (epoch === 0) return;
    if (this.#session?.epoch === epoch) {
      this.#write([this.#session.welcome]);
      return;
    }
    // Each costs buffers, an encoder and lines of log. A guest sends Hello again until it is answered.
    if (!this.#openings.take()) return;
    this.#end("the guest opened another session");
    const { versionMin, versionMax, software } = hello;
    const version = LIMITS.PROTOCOL_VERSION;
    if (form === version && version >= versionMin && version <= versionMax) {
      try {
        this.#open(epoch, hello);
      } catch (error) {
        if (this.#session === undefined) this.#refuse(epoch, internalError(error), form);
        throw error;
      }
      return;
    }
    const [theirs, behind] =
      form < version
        ? [`protocol version ${form}`, "in the guest"]
        : [
            `protocol versions ${versionMin} to ${versionMax}`,
            versionMax < version ? "in the guest" : "on the host",
          ];
    const text = `the guest speaks ${theirs}, the relay version ${version}: upgrade vsockenc ${behind}, so that both sides have the same vsockenc version`;
    this.#log.error({ epoch, software }, text);
    this.#refuse(epoch, new SessionError("VERSION_MISMATCH", text), form);
  }

  /** Answers a Hello with an Error, in the form of its version. */
  #refuse(epoch: number, error: SessionError, form: number): void {
    this.#write([encodeMessage(fatalMessage(error), { epoch, sequence: 1, stream: 0 }, form)]);
  }

  #open(epoch: number, hello: vsockenc.Hello): void {
    const body = {
      ...this.#options.welcome(),
      version: LIMITS.PROTOCOL_VERSION,
      hostBootId: this.#options.hostBootId,
      windowBytes: LIMITS.GUEST_WINDOW_BYTES,
    };
    const output: SessionOutput = {
      send: (message) => this.#sendNow(session, message),
      answer: (message, bulk) => this.#answer(session, { message, bulk }),
      consumed: (credit) => {
        const grantedBytes = session.receiveCredit.consume(credit);
        if (grantedBytes !== undefined) this.#sendNow(session, { type: "credit", body: { grantedBytes } });
      },
      fail: (error) => {
        try {
          this.#fail(session, error);
        } catch (second) {
          this.#link?.fail(second);
        }
      },
    };
    const welcome = encodeMessage({ type: "welcome", body }, { epoch, sequence: 0, stream: 0 });
    const session: OpenSession = {
      epoch,
      handler: this.#options.open(output),
      sendCredit: new SendCredit(hello.windowBytes),
      receiveCredit: new ReceiveCredit(LIMITS.GUEST_WINDOW_BYTES),
      answers: [],
      bulkSent: -1,
      sequenceOut: 0,
      sequenceIn: 0,
      welcome,
    };
    this.#session = session;
    this.#silentTicks = 0;
    this.#log.info({ epoch, software: hello.software }, "session opened");
    this.#write([session.welcome]);
  }

  #fail(session: OpenSession, error: SessionError): void {
    if (this.#session !== session) return;
    this.#log.warn({ epoch: session.epoch, code: error.code }, `rejected a session: ${error.message}`);
    this.#sendNow(session, fatalMessage(error));
    this.#end("a fatal error");
  }

  #end(reason: string): void {
    const session = this.#session;
    if (session === undefined) return;
    this.#session = undefined;
    this.#log.info({ epoch: session.epoch }, `session ended: ${reason}`);
    session.handler.end();
  }

  #sendNow(session: OpenSession, message: OutgoingMessage): void {
    if (this.#session !== session) return;
    this.#writeMessage(session, [encodeMessage(message, nextEnvelope(session))]);
  }

  #answer(session: OpenSession, answer: Answer): void {
    if (this.#session !== session) return;
    session.answers.push(answer);
    this.#flushAnswers(session);
    // An honest guest has no more unanswered frames than Welcome allows, and grants credit for them.
    if (session.answers.length > MAX_WAITING_ANSWERS) this.#end("the guest grants no credit for its answers");
  }

  /** Sends answers in order, as far as credit allows. */
  #flushAnswers(session: OpenSession): void {
    for (let answer = session.answers[0]; answer !== undefined; answer = session.answers[0]) {
      if (this.#session !== session) return;
      if (session.bulkSent < 0 && !this.#sendAnswer(session, answer)) return;
      if (!this.#sendBulk(session, answer)) return;
      session.answers.shift();
      session.bulkSent = -1;
    }
  }

  #sendAnswer(session: OpenSession, { message }: Answer): boolean {
    const bytes = encodeMessage(message, nextEnvelope(session));
    if (message.type === "packet" && !session.sendCredit.spend(bytes.length)) return false;
    this.#writeMessage(session, [bytes]);
    session.bulkSent = 0;
    return true;
  }

  #sendBulk(session: OpenSession, { message, bulk }: Answer): boolean {
    if (bulk === undefined || message.type !== "packet") return true;
    while (session.bulkSent < bulk.length && this.#session === session) {
      const piece = bulk.subarray(session.bulkSent, session.bulkSent + MAX_DATA_BYTES);
      if (!session.sendCredit.spend(LIMITS.HEADER_BYTES + LIMITS.DATA_PREFIX_BYTES + piece.length))
        return false;
      const head = encodeDataHead(message.body.frame ?? 0, session.bulkSent, piece, nextEnvelope(session));
      this.#writeMessage(session, [head, piece]);
      session.bulkSent += piece.length;
    }
    return true;
  }

  /** Writes a message that was encoded with `nextEnvelope`. */
  #writeMessage(session: OpenSession, pieces: readonly Uint8Array[]): void {
    session.sequenceOut = nextSerial(session.sequenceOut);
    this.#write(pieces);
    if ((this.#link?.unsentBytes ?? 0) > LIMITS.HOST_WINDOW_BYTES + LIMITS.CONTROL_RESERVE_BYTES) {
      // Bulk obeys the guest's credit, so the guest does not read what it has requested.
      if (this.#session === session) this.#end("the guest does not read");
    }
  }

  #write(pieces: readonly Uint8Array[]): void {
    this.#lastSent = performance.now();
    this.#link?.write(pieces);
  }

  #greet(): void {
    // Unread Greetings would pile up for the next guest that opens the port.
    if ((this.#link?.unsentBytes ?? 0) > 0) return;
    const body = { hostBootId: this.#options.hostBootId };
    this.#write([encodeMessage({ type: "greeting", body }, { epoch: 0, sequence: 0, stream: 0 })]);
  }
}

function fatalMessage({ code, message }: SessionError): OutgoingMessage {
  const body = { code: vsockenc.ErrorCode[code], text: truncate(message), fatal: true };
  return { type: "error", body };
}

/** Envelope of the next outgoing message. */
function nextEnvelope(session: OpenSession): Envelope {
  return { epoch: session.epoch, sequence: nextSerial(session.sequenceOut), stream: 0 };
}

/** Cuts a text to MAX_TEXT_BYTES of UTF-8. */
export function truncate(text: string): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= LIMITS.MAX_TEXT_BYTES) return text;
  // A character that was cut decodes to U+FFFD, which is removed.
  return bytes
    .subarray(0, LIMITS.MAX_TEXT_BYTES)
    .toString()
    .replace(/\uFFFD+$/, "");
}
