/**
 * The relay's side of a connection that speaks HXFR (proto/HXFR.md): requests in, replies out in their order.
 *
 * HXFR has no credits, so the connection itself is the brake: no request is taken while another is under way or too many
 * are unanswered, and then the client is not read either; replies are not written while it does not read.
 */
import type { Logger } from "pino";
import type { ByteQueue } from "../../proto/byte-queue.ts";
import {
  encodeHxfrError,
  encodeHxfrPacketHead,
  encodeHxfrPong,
  HXFR_ERRORS,
  type HxfrErrorCode,
  type HxfrEvent,
  HxfrFormatError,
  HxfrParser,
} from "../../proto/hxfr.ts";
import { LIMITS } from "../../proto/limits.ts";
import { vsockenc } from "../../proto/protobuf.ts";
import type { LinkServer, ServedLink } from "./connection.ts";
import type { SessionError } from "./errors.ts";
import { type HxfrAnswer, HxfrStream, RefusedError } from "./hxfr-stream.ts";
import type { SessionHandler, SessionOutput } from "./session.ts";

const { ErrorCode } = vsockenc;

export const MAX_UNANSWERED = LIMITS.MAX_IN_FLIGHT_FRAMES;

/** What a connection may have to hold: a reply follows only when less than a window waits. */
export const MAX_HXFR_UNSENT_BYTES = LIMITS.HOST_WINDOW_BYTES + 2 * LIMITS.MAX_ACCESS_UNIT_BYTES;

/** Codes by those of the session. */
const CODES: Partial<Record<vsockenc.ErrorCode, HxfrErrorCode>> = {
  [ErrorCode.NO_SUCH_RESOURCE]: HXFR_ERRORS.RESOURCE_NOT_FOUND,
  [ErrorCode.NO_EXPORTER]: HXFR_ERRORS.RESOURCE_NOT_FOUND,
  [ErrorCode.LAYOUT_OUTSIDE_RESOURCE]: HXFR_ERRORS.INVALID_MESSAGE,
  [ErrorCode.UNSUPPORTED_FORMAT]: HXFR_ERRORS.INVALID_MESSAGE,
  [ErrorCode.INVALID_VALUE]: HXFR_ERRORS.INVALID_MESSAGE,
  [ErrorCode.LIMIT_EXCEEDED]: HXFR_ERRORS.INVALID_MESSAGE,
  [ErrorCode.ENCODER_UNAVAILABLE]: HXFR_ERRORS.ENCODE_FAILED,
  [ErrorCode.ENCODER_FAILED]: HXFR_ERRORS.ENCODE_FAILED,
};

export interface HxfrOptions {
  readonly open: (output: SessionOutput) => SessionHandler;
  /** As of LinkServer. */
  readonly meter?: LinkServer["meter"];
  readonly log: Logger;
}

/** A request that expects a reply; undefined until there is one, empty where none is needed. */
interface Reply {
  pieces: readonly Uint8Array[] | undefined;
}

export class HxfrServer implements LinkServer {
  readonly #options: HxfrOptions;
  readonly #log: Logger;
  readonly #parser = new HxfrParser();
  readonly #stream: HxfrStream;
  /** In the order of the requests. */
  readonly #replies: Reply[] = [];
  #link: ServedLink | undefined;
  /** A request is under way. */
  #busy = false;
  #open = false;
  #ended = false;

  constructor(options: HxfrOptions) {
    this.#options = options;
    this.#log = options.log;
    this.#stream = new HxfrStream(options.open, options.log);
  }

  /** Whether the client has sent a request. It may then be silent for as long as it likes. */
  get isOpen(): boolean {
    return this.#open;
  }

  get meter(): LinkServer["meter"] {
    return this.#options.meter;
  }

  onConnect(link: ServedLink): void {
    // The client speaks first.
    this.#link = link;
  }

  step(input: ByteQueue): boolean {
    if (this.#ended || this.#busy || this.#replies.length >= MAX_UNANSWERED) return false;
    try {
      const event = this.#parser.next(input);
      if (event === undefined) return false;
      this.#open = true;
      const work = this.#handle(event);
      if (work !== undefined) void this.#finish(work);
      return true;
    } catch (error) {
      if (!(error instanceof HxfrFormatError)) throw error;
      this.#log.warn(`rejected a client that does not speak HXFR: ${error.message}`);
      this.#end(HXFR_ERRORS.INVALID_MESSAGE, error.message);
      return false;
    }
  }

  onDrain(): void {
    this.#flush();
    this.#link?.resume();
  }

  onDisconnect(): void {
    this.close();
  }

  fail(error: SessionError): void {
    this.#end(HXFR_ERRORS.INTERNAL, error.message);
  }

  close(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#stream.end();
  }

  async #finish(work: Promise<void>): Promise<void> {
    this.#busy = true;
    try {
      await work;
    } catch (error) {
      this.#link?.fail(error);
    }
    this.#busy = false;
    this.#link?.resume();
  }

  #handle(event: HxfrEvent): Promise<void> | undefined {
    if (event.kind === "pixels") return this.#stream.pixels(event.bytes, event.last);
    const { request, session, pixelBytes } = event;
    const reply: Reply = { pieces: undefined };
    this.#replies.push(reply);
    switch (request.type) {
      case "frame":
        return this.#stream.encode(request, pixelBytes, (answer) =>
          this.#answer(reply, answerPieces(session, request.pts, answer)),
        );
      case "config":
        return this.#stream.configure(request).then(
          () => this.#answer(reply, []),
          (error: unknown) => {
            if (!(error instanceof RefusedError)) throw error;
            this.#answer(reply, answerPieces(session, 0n, { error }));
          },
        );
      case "ping":
        this.#answer(reply, [encodeHxfrPong(session)]);
        return undefined;
      default: {
        const text = `scanout ${request.scanout} is not available: scanouts need Helix's QEMU; capture in the guest and send frames`;
        this.#log.warn(text);
        this.#answer(reply, [encodeHxfrError(session, HXFR_ERRORS.INVALID_MESSAGE, text)]);
        return undefined;
      }
    }
  }

  #answer(reply: Reply, pieces: readonly Uint8Array[]): void {
    reply.pieces = pieces;
    this.#flush();
    this.#link?.resume();
  }

  /** Writes replies in order, as far as the client reads them. */
  #flush(): void {
    while (!this.#ended && (this.#link?.unsentBytes ?? 0) < LIMITS.HOST_WINDOW_BYTES) {
      const pieces = this.#replies[0]?.pieces;
      if (pieces === undefined) return;
      this.#replies.shift();
      this.#write(pieces);
    }
  }

  #write(pieces: readonly Uint8Array[]): void {
    if (pieces.length > 0) this.#link?.write(pieces);
  }

  /** Ends the connection with an error; the client's bytes cannot be understood any more, or not be trusted. */
  #end(code: HxfrErrorCode, text: string): void {
    if (this.#ended) return;
    this.#write([encodeHxfrError(0, code, text)]);
    this.close();
    this.#link?.disconnect();
  }
}

function answerPieces(session: number, pts: bigint, answer: HxfrAnswer): Uint8Array[] {
  if ("error" in answer) {
    const { code, message } = answer.error;
    return [encodeHxfrError(session, CODES[code] ?? HXFR_ERRORS.INTERNAL, message)];
  }
  return [encodeHxfrPacketHead(session, pts, answer.key, answer.data.length), answer.data];
}
