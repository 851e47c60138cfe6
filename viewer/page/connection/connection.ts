/**
 * The WebSocket to the server: opened again with growing pauses when it is lost, pinged once a second.
 *
 * What the server closed with a code that says "not again" (proto/viewer-closing.ts) stays closed until a person asks.
 */
import { CLOSE_CODES } from "../../../proto/viewer-closing.ts";
import { VIEWER_LIMITS } from "../../../proto/viewer-limits.ts";
import {
  decodeServerMessage,
  encodeViewerMessage,
  type OutgoingViewerMessage,
  type ServerMessage,
} from "../../../proto/viewer-messages.ts";
import { now } from "../player/unit.ts";
import { ServerClock } from "./server-clock.ts";

/** First and longest pause before another attempt, in ms. */
const PAUSE = { first: 500, longest: 10_000 };
const PING_MS = 1000;
/** No answer to a ping for that long, and the connection is given up: a network that vanished closes nothing. */
const SILENCE_MS = 8000;
/** HTTP statuses that another attempt would get again: the token, or the name in the address, is not good. */
const REFUSALS: readonly number[] = [401, 403];
/** There are as many viewers as the server takes. */
const FULL = 503;
/** For a connection to be opened, and for the server to say why it is not. */
const OPEN_MS = 10_000;
/** Input that a slow line has not taken; beyond it pointer moves are left out. */
const MAX_UNSENT_BYTES = 64 * 1024;

const NO_ANSWER = "The server does not answer.";

export type ConnectionState =
  | { readonly code: "connecting" }
  | { readonly code: "open" }
  /** Lost; another attempt follows by itself. `before` tells whether there was a connection. */
  | { readonly code: "waiting"; readonly reason: string; readonly before: boolean }
  /** Ended for good. */
  | { readonly code: "refused"; readonly reason: string };

export interface ConnectionEvents {
  onState(state: ConnectionState): void;
  /** @param arrivedAt ms as `now()` counts */
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
  #heardAt = 0;
  #wasOpen = false;

  constructor(url: URL, events: ConnectionEvents) {
    this.#url = url;
    this.#events = events;
  }

  /** Connects now, whatever pause there was to be. */
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
      this.#heardAt = now();
      this.#pinger = window.setInterval(() => this.#ping(), PING_MS);
      this.#events.onState({ code: "open" });
      this.#ping();
    };
    socket.onclose = ({ code, reason }) => {
      // A browser keeps to itself why a WebSocket was refused; asked without an upgrade, the server tells.
      if (this.#pinger === undefined) this.#askWhy(socket);
      else this.#lost(code, reason);
    };
  }

  send(message: OutgoingViewerMessage): void {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#socket.send(encodeViewerMessage(message) as Uint8Array<ArrayBuffer>);
  }

  /** How long something was under way that the server says it sent then, in ms; undefined before that can be told. */
  underway(sentUs: number, arrivedAt: number): number | undefined {
    return this.#clock.underway(sentUs, arrivedAt);
  }

  /** Whether the line takes what may be left out, e.g. another move of the pointer. */
  get hasRoom(): boolean {
    return (this.#socket?.bufferedAmount ?? 0) < MAX_UNSENT_BYTES;
  }

  #receive(data: unknown): void {
    const arrivedAt = now();
    this.#heardAt = arrivedAt;
    if (!(data instanceof ArrayBuffer)) return;
    let message: ServerMessage;
    try {
      message = decodeServerMessage(new Uint8Array(data));
    } catch {
      return; // A kind of message that a newer server has.
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
    if (now() - this.#heardAt > SILENCE_MS) {
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
    // Spread, so that the viewers of a server that was restarted do not all come at once.
    this.#retry = window.setTimeout(() => this.open(), this.#pause * (0.75 + Math.random() / 2));
    this.#pause = Math.min(this.#pause * 2, PAUSE.longest);
  }

  async #askWhy(socket: WebSocket): Promise<void> {
    window.clearTimeout(this.#retry);
    const url = new URL(this.#url);
    url.protocol = url.protocol === "wss:" ? "https:" : "http:";
    const answer = await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(OPEN_MS) }).catch(
      () => undefined,
    );
    const text = (await answer?.text().catch(() => "")) ?? "";
    if (socket !== this.#socket) return;
    const isRefusal = answer !== undefined && REFUSALS.includes(answer.status);
    if (isRefusal || answer?.status === FULL) this.#lost(1006, text);
    else this.#lost(1006, "");
    if (!isRefusal) return;
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
    socket.onmessage = null;
    socket.onopen = null;
    socket.onclose = null;
    socket.close();
  }
}

/** Protocol version that ViewerHello names. */
export const PROTOCOL_VERSION = VIEWER_LIMITS.VERSION;
