/** One browser's WebSocket. Its messages are untrusted. */
import type { Logger } from "pino";
import type { RawData, WebSocket } from "ws";
import type { CodecName } from "../../common/codec.ts";
import { RateLimit } from "../../common/rate-limit.ts";
import { vsockenc } from "../../proto/protobuf.ts";
import { CLOSE_CODES, type CloseName, ViewerProtocolError } from "../../proto/viewer-closing.ts";
import { VIEWER_LIMITS } from "../../proto/viewer-limits.ts";
import {
  decodeViewerMessage,
  encodeServerMessage,
  type OutgoingServerMessage,
  type ViewerMessage,
  ViewerMessageError,
} from "../../proto/viewer-messages.ts";
import type { ViewerObservation } from "./bitrate.ts";
import { CursorFeed } from "./cursor-feed.ts";
import type { Hub, Watcher } from "./hub.ts";
import { checkRange, InputForwarder } from "./input-forwarder.ts";
import type { ViewerMetrics } from "./metrics.ts";
import type { SourceCursor } from "./source.ts";
import { type SourceCatalog, truncateText } from "./source-catalog.ts";
import { absentState, type WatchState } from "./source-state.ts";
import { serverClockUs } from "./stream/unit.ts";
import { UnitQueue } from "./stream/unit-queue.ts";
import type { Thumbnails } from "./thumbnails.ts";

const { Codec } = vsockenc;
const CODECS = new Map<number, CodecName>([
  [Codec.H264, "h264"],
  [Codec.H265, "h265"],
]);

/** RFC 6455, section 5.5: a control frame has 125 bytes, two of which are the code. */
const CLOSE_REASON_BYTES = 123;

type Body<Type extends ViewerMessage["type"]> = Extract<ViewerMessage, { type: Type }>["body"];

export interface ViewerSurroundings {
  readonly software: string;
  readonly catalog: SourceCatalog;
  readonly thumbnails: Thumbnails;
  readonly metrics: ViewerMetrics;
  readonly log: Logger;
}

export class Viewer implements Watcher {
  readonly units: UnitQueue;
  readonly #cursor: CursorFeed;
  readonly #socket: WebSocket;
  readonly #around: ViewerSurroundings;
  readonly #log: Logger;
  readonly #messages = new RateLimit(VIEWER_LIMITS.MESSAGES_PER_SECOND);
  readonly #watches = new RateLimit(VIEWER_LIMITS.WATCHES_PER_SECOND);
  readonly #helloTimer: NodeJS.Timeout;
  readonly #pingTimer: NodeJS.Timeout;
  #cutTimer: NodeJS.Timeout | undefined;
  #watchTimer: NodeJS.Timeout | undefined;
  decodes: ReadonlySet<CodecName> = new Set();
  #greeted = false;
  #alive = true;
  /** Bytes of messages other than pictures that the socket has not taken. */
  #controlBytes = 0;
  /** The id that it watches, which need not exist; "" for the list, undefined before the first Watch. */
  #watched: string | undefined;
  #hub: Hub | undefined;
  #input: InputForwarder | undefined;
  #shown: WatchState | undefined;
  #report: Body<"report"> | undefined;
  #shortestRoundTripUs = Number.POSITIVE_INFINITY;
  #skippedBefore = 0;

  constructor(socket: WebSocket, around: ViewerSurroundings) {
    this.#socket = socket;
    this.#around = around;
    this.#log = around.log;
    this.units = new UnitQueue(socket, {
      onKeyFrameNeeded: () => this.#hub?.requestKeyFrame(),
      onSent: (bytes) => this.#hub?.metrics.unitSent(bytes),
      onSkipped: (count) => this.#hub?.metrics.unitsSkipped(count),
    });
    this.#cursor = new CursorFeed(this);
    this.#helloTimer = setTimeout(
      () => this.close("noHello", `no ViewerHello within ${VIEWER_LIMITS.HELLO_MS} ms`),
      VIEWER_LIMITS.HELLO_MS,
    );
    this.#pingTimer = setInterval(() => this.#ping(), VIEWER_LIMITS.PING_INTERVAL_MS);
    socket.on("message", (data, isBinary) => this.#onMessage(data, isBinary));
    socket.on("pong", () => {
      this.#alive = true;
    });
    // After an error ws sends Close itself.
    socket.on("error", (error) => {
      this.#log.debug({ reason: error.message }, "viewer connection failed");
      this.#cutSoon();
    });
    socket.on("close", (code, reason) => this.#onClose(code, reason.toString()));
  }

  get congested(): boolean {
    return this.#socket.bufferedAmount >= VIEWER_LIMITS.SEND_AHEAD_BYTES;
  }

  /** Closes the connection; `reason` is shown to the user. */
  close(name: CloseName, reason: string): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    if (name !== "goingAway") {
      this.#around.metrics.refused(name);
      this.#log.warn({ reason }, "viewer closed for a protocol error");
    }
    this.#leave();
    this.#socket.close(CLOSE_CODES[name].code, truncateText(reason, CLOSE_REASON_BYTES));
    this.#cutSoon();
  }

  /** Sends the changed list of sources, and follows the watched source if it was added or removed. */
  sourcesChanged(): void {
    if (!this.#greeted) return;
    this.send(this.#around.catalog.message());
    if (this.#watched === undefined || this.#watched === "") return;
    if (this.#around.catalog.get(this.#watched) === this.#hub) return;
    // A removed source takes no more input.
    this.#input = undefined;
    this.#watch(this.#watched);
  }

  send(message: OutgoingServerMessage): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    const bytes = encodeServerMessage(message);
    // A thumbnail is a picture: it is bounded by `congested`.
    const counted = message.type === "thumbnail" ? 0 : bytes.length;
    this.#controlBytes += counted;
    if (this.#controlBytes > VIEWER_LIMITS.CONTROL_BYTES) {
      const text = `the viewer leaves more than ${VIEWER_LIMITS.CONTROL_BYTES} bytes unread`;
      this.close("notReading", text);
      return;
    }
    this.#socket.send(bytes, () => {
      this.#controlBytes -= counted;
    });
  }

  showState(state: WatchState): void {
    if (state.code === this.#shown?.code && state.text === this.#shown.text) return;
    this.#shown = state;
    this.send({ type: "state", body: { code: state.code, text: truncateText(state.text) } });
  }

  showCursor(cursor: SourceCursor | undefined): void {
    this.#cursor.show(cursor);
  }

  observe(): ViewerObservation | undefined {
    const report = this.#report;
    if (report === undefined) return undefined;
    this.#report = undefined;
    const skipped = this.units.skipped - this.#skippedBefore;
    this.#skippedBefore = this.units.skipped;
    this.#shortestRoundTripUs = Math.min(this.#shortestRoundTripUs, report.roundTripUs);
    const receivedKbps = (report.receivedBytes * 8) / report.periodMs;
    return { ...report, receivedKbps, skipped, shortestRoundTripUs: this.#shortestRoundTripUs };
  }

  #onMessage(data: RawData, isBinary: boolean): void {
    this.#alive = true;
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    try {
      this.#handle(read(data, isBinary, this.#messages));
    } catch (error) {
      if (!(error instanceof ViewerProtocolError)) throw error;
      this.close(error.close, error.message);
    }
  }

  #handle(message: ViewerMessage): void {
    if (!this.#greeted && message.type !== "hello") {
      throw new ViewerProtocolError("malformed", `${message.type} before hello`);
    }
    switch (message.type) {
      case "hello":
        this.#onHello(message.body);
        break;
      case "watch":
        this.#onWatch(message.body.source);
        break;
      case "keyFrameRequest":
        this.units.awaitKeyFrame();
        this.#hub?.requestKeyFrame();
        break;
      case "report":
        checkRange("Report.period_ms", message.body.periodMs, 1, VIEWER_LIMITS.MAX_REPORT_MS);
        this.#report = message.body;
        break;
      case "ping":
        this.send({ type: "pong", body: { token: message.body.token, clockUs: serverClockUs() } });
        break;
      case "pointer":
        this.#input?.pointer(message.body);
        break;
      case "key":
        this.#input?.key(message.body);
    }
  }

  #onHello({ version, codecs }: Body<"hello">): void {
    if (this.#greeted) throw new ViewerProtocolError("malformed", "second hello");
    if (version !== VIEWER_LIMITS.VERSION) {
      const text = `protocol version ${version}, expected ${VIEWER_LIMITS.VERSION}: reload the page`;
      throw new ViewerProtocolError("version", text);
    }
    checkRange("the number of codecs in hello", codecs.length, 0, VIEWER_LIMITS.CODECS);
    clearTimeout(this.#helloTimer);
    this.#greeted = true;
    this.decodes = new Set(codecs.flatMap((codec) => CODECS.get(codec) ?? []));
    this.send({ type: "hello", body: { version: VIEWER_LIMITS.VERSION, software: this.#around.software } });
    this.send(this.#around.catalog.message());
  }

  #onWatch(id: string): void {
    checkRange(
      "the length of the source id in watch",
      Buffer.byteLength(id),
      0,
      VIEWER_LIMITS.SOURCE_ID_BYTES,
    );
    if (this.#watches.take()) {
      this.#watch(id);
      return;
    }
    // Starting a source costs an encoder, so debounce while the user flips through sources.
    this.#leave();
    this.#watchTimer = setTimeout(() => this.#watch(id), VIEWER_LIMITS.WATCH_DELAY_MS);
  }

  #watch(id: string): void {
    this.#leave();
    this.#watched = id;
    if (id === "") {
      this.#around.thumbnails.open(this);
      return;
    }
    this.#hub = this.#around.catalog.get(id);
    if (this.#hub === undefined) {
      this.showState(absentState(id));
      return;
    }
    this.#log.info({ source: id }, "viewer watches source");
    this.#input = new InputForwarder(this.#hub.source, this.#hub.metrics);
    this.#hub.watch(this);
  }

  /** Stops watching the source or the list. */
  #leave(): void {
    clearTimeout(this.#watchTimer);
    if (this.#watched === "") this.#around.thumbnails.close(this);
    this.#input?.release();
    this.#input = undefined;
    this.#hub?.leave(this);
    this.#hub = undefined;
    this.#watched = undefined;
    this.#shown = undefined;
    this.#report = undefined;
    this.#skippedBefore = 0;
  }

  #ping(): void {
    if (!this.#alive) {
      this.#log.info("viewer timed out");
      this.#socket.terminate();
      return;
    }
    this.#alive = false;
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.ping();
  }

  /** Cuts the connection if the viewer does not answer Close. */
  #cutSoon(): void {
    this.#cutTimer ??= setTimeout(() => this.#socket.terminate(), VIEWER_LIMITS.CLOSE_MS);
  }

  #onClose(code: number, reason: string): void {
    clearTimeout(this.#helloTimer);
    clearInterval(this.#pingTimer);
    clearTimeout(this.#cutTimer);
    this.#cursor.close();
    this.#leave();
    this.#log.info({ code, reason }, "viewer disconnected");
  }
}

/** @throws ViewerProtocolError */
function read(data: RawData, isBinary: boolean, rate: RateLimit): ViewerMessage {
  if (!rate.take()) {
    const text = `more than ${VIEWER_LIMITS.MESSAGES_PER_SECOND} messages per second`;
    throw new ViewerProtocolError("tooMany", text);
  }
  if (!isBinary) throw new ViewerProtocolError("notBinary", "text message, expected binary");
  // ws delivers Buffers with its default binaryType, "nodebuffer".
  if (!Buffer.isBuffer(data)) throw new TypeError("ws delivered no Buffer");
  if (data.length > VIEWER_LIMITS.MESSAGE_BYTES) {
    const text = `message of ${data.length} bytes, at most ${VIEWER_LIMITS.MESSAGE_BYTES} allowed`;
    throw new ViewerProtocolError("tooBig", text);
  }
  try {
    return decodeViewerMessage(data);
  } catch (error) {
    if (!(error instanceof ViewerMessageError)) throw error;
    throw new ViewerProtocolError("malformed", `invalid ViewerMessage: ${error.message}`);
  }
}
