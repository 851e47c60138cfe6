/**
 * The WebSocket to the server: pinged once a second, and re-opened with back-off when it is lost.
 *
 * After a close code without `again` (proto/viewer-closing.ts) it stays closed until the user reconnects.
 */
import { CLOSE_CODES } from "../../../proto/viewer-closing.ts";
import {
  decodeServerMessage,
  encodeViewerMessage,
  type OutgoingViewerMessage,
  type ServerMessage,
} from "../../../proto/viewer-messages.ts";
import { now } from "../player/unit.ts";
import { ServerClock } from "./server-clock.ts";

/** First and longest delay before another attempt, in ms. */
const PAUSE = { first: 500, longest: 10_000 };
const PING_MS = 1000;
/** Without any message for this long the connection counts as lost: a vanished network closes nothing. */
const SILENCE_MS = 8000;
/** HTTP statuses that are final: the token or the host name is wrong. */
const FINAL: readonly number[] = [401, 403];
/** The server has its maximum number of viewers. */
const FULL = 503;
/** Time-out for opening the connection, and for fetching the reason of a rejection. */
const OPEN_MS = 10_000;
/** With more unsent input than this, pointer moves are skipped. */
const MAX_UNSENT_BYTES = 64 * 1024;

const NO_ANSWER = "The server does not answer.";

export type ConnectionState =
  | { readonly code: "connecting" }
  | { readonly code: "open" }
  /** Lost; another attempt follows. `before`: whether there has been a connection. */
  | { readonly code: "waiting"; readonly reason: string; readonly before: boolean }
  /** Closed until the user reconnects. */
  | { readonly code: "refused"; readonly reason: string };

export interface ConnectionEvents {
  onState(state: ConnectionState): void;
  /** @param arrivedAt in ms of `now()` */
  onMessage(message: ServerMessage, arrivedAt: number): void;
  onRoundTrip(ms: number): void;
}

export class Connection {
  readonly #url: URL;
  readonly #events: ConnectionEvents;
  #socket: WebSocket | undefined;
  #pause = PAUSE.first;
  #retry: number | undefined;
  #pinger: number | undefined;
  #token = 0;
  #pingedAt: number | undefined;
  #clock = new ServerClock();
  #receivedAt = 0;
  #wasOpen = false;

  constructor(url: URL, events: ConnectionEvents) {
    this.#url = url;
    this.#events = events;
  }

  /** Connects now, even while a delay is running. */
  open(): void {
    this.#release();
    this.#events.onState({ code: "connecting" });
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    this.#clock = new ServerClock();
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }: MessageEvent<unknown>) => this.#receive(data);
    this.#retry = window.setTimeout(() => this.#lost(1006, NO_ANSWER), OPEN_MS);
    socket.onopen = () => {
      window.clearTimeout(this.#retry);
      this.#receivedAt = now();
      this.#pinger = window.setInterval(() => this.#ping(), PING_MS);
      this.#events.onState({ code: "open" });
      this.#ping();
    };
    socket.onclose = ({ code, reason }) => {
      // Browsers hide why a WebSocket was rejected; a plain request to the same URL returns the reason.
      if (this.#pinger === undefined) this.#fetchReason(socket);
      else this.#lost(code, reason);
    };
  }

  send(message: OutgoingViewerMessage): void {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#socket.send(encodeViewerMessage(message) as Uint8Array<ArrayBuffer>);
  }

  /** How long a message that the server sent at `sentUs` was under way, in ms; undefined while not yet known. */
  underway(sentUs: number, arrivedAt: number): number | undefined {
    return this.#clock.underway(sentUs, arrivedAt);
  }

  /** Whether the connection has room for messages that may be skipped, e.g. pointer moves. */
  get hasRoom(): boolean {
    return (this.#socket?.bufferedAmount ?? 0) < MAX_UNSENT_BYTES;
  }

  #receive(data: unknown): void {
    const arrivedAt = now();
    this.#receivedAt = arrivedAt;
    if (!(data instanceof ArrayBuffer)) return;
    let message: ServerMessage;
    try {
      message = decodeServerMessage(new Uint8Array(data));
    } catch {
      return; // A message of a newer server.
    }
    if (message.type === "hello") {
      this.#wasOpen = true;
      this.#pause = PAUSE.first;
    }
    if (message.type === "pong" && message.body.token === this.#token && this.#pingedAt !== undefined) {
      this.#clock.answered(this.#pingedAt, arrivedAt, Number(message.body.clockUs));
      this.#events.onRoundTrip(arrivedAt - this.#pingedAt);
      this.#pingedAt = undefined;
    }
    this.#events.onMessage(message, arrivedAt);
  }

  #ping(): void {
    if (now() - this.#receivedAt > SILENCE_MS) {
      this.#lost(1006, NO_ANSWER);
      return;
    }
    if (this.#pingedAt !== undefined) return;
    this.#token = (this.#token + 1) >>> 0;
    this.#pingedAt = now();
    this.send({ type: "ping", body: { token: this.#token } });
  }

  #lost(code: number, reason: string): void {
    this.#release();
    const known = Object.values(CLOSE_CODES).find((entry) => entry.code === code);
    if (known?.again === false) {
      this.#events.onState({ code: "refused", reason: reason || `${known.meaning}.` });
      return;
    }
    this.#events.onState({ code: "waiting", reason, before: this.#wasOpen });
    // Spread, so that not all viewers of a restarted server reconnect at once.
    this.#retry = window.setTimeout(() => this.open(), this.#pause * (0.75 + Math.random() / 2));
    this.#pause = Math.min(this.#pause * 2, PAUSE.longest);
  }

  async #fetchReason(socket: WebSocket): Promise<void> {
    window.clearTimeout(this.#retry);
    const url = new URL(this.#url);
    url.protocol = url.protocol === "wss:" ? "https:" : "http:";
    const options = { cache: "no-store", signal: AbortSignal.timeout(OPEN_MS) } as const;
    const answer = await fetch(url, options).catch(() => undefined);
    const text = (await answer?.text().catch(() => "")) ?? "";
    if (socket !== this.#socket) return;
    const isFinal = answer !== undefined && FINAL.includes(answer.status);
    this.#lost(1006, isFinal || answer?.status === FULL ? text : "");
    if (!isFinal) return;
    window.clearTimeout(this.#retry);
    this.#events.onState({ code: "refused", reason: text });
  }

  #release(): void {
    window.clearTimeout(this.#retry);
    window.clearInterval(this.#pinger);
    this.#pinger = undefined;
    this.#pingedAt = undefined;
    const socket = this.#socket;
    this.#socket = undefined;
    if (socket === undefined) return;
    Object.assign(socket, { onmessage: null, onopen: null, onclose: null });
    socket.close();
  }
}
