/** A viewer for tests: a real WebSocket that keeps the received messages. */

import { text } from "node:stream/consumers";
import { type ClientOptions, WebSocket } from "ws";
import { vsockenc } from "../../../../proto/protobuf.ts";
import { VIEWER_LIMITS } from "../../../../proto/viewer-limits.ts";
import {
  decodeServerMessage,
  encodeViewerMessage,
  type OutgoingViewerMessage,
  type ServerMessage,
} from "../../../../proto/viewer-messages.ts";
import { until } from "../../../support/until.ts";

type Body<Name extends ServerMessage["type"]> = Extract<ServerMessage, { type: Name }>["body"];

/** The handshake was rejected. */
export class Refused extends Error {
  readonly status: number;

  constructor(status: number, text: string) {
    super(text);
    this.status = status;
  }
}

/** The WebSocket's URL, from a server's address. */
export function watchUrl(address: string): URL {
  const url = new URL("watch", address);
  url.search = new URL(address).search;
  url.protocol = url.protocol.replace("http", "ws");
  return url;
}

export class TestViewer {
  readonly messages: ServerMessage[] = [];
  readonly socket: WebSocket;
  closed: { readonly code: number; readonly reason: string } | undefined;

  constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on("message", (data: Buffer) => void this.messages.push(decodeServerMessage(data)));
    socket.on("close", (code, reason) => {
      this.closed = { code, reason: reason.toString() };
    });
  }

  /** Opens the WebSocket and sends nothing. @throws Refused */
  static open(url: URL, options: ClientOptions = {}): Promise<TestViewer> {
    const socket = new WebSocket(url, options);
    const viewer = new TestViewer(socket);
    return new Promise((resolve, reject) => {
      socket.on("open", () => resolve(viewer));
      socket.on("error", reject);
      socket.on("unexpected-response", async (_request, response) => {
        reject(new Refused(response.statusCode ?? 0, await text(response)));
      });
    });
  }

  /** Opens, sends hello, and waits for the list of sources. */
  static async connect(address: string, codecs = [vsockenc.Codec.H264]): Promise<TestViewer> {
    const viewer = await TestViewer.open(watchUrl(address));
    viewer.send({ type: "hello", body: { version: VIEWER_LIMITS.VERSION, codecs } });
    await until(() => viewer.all("sources").length > 0, "Sources");
    return viewer;
  }

  send(message: OutgoingViewerMessage): void {
    this.socket.send(encodeViewerMessage(message));
  }

  watch(source: string): void {
    this.send({ type: "watch", body: { source } });
  }

  all<Name extends ServerMessage["type"]>(type: Name): Body<Name>[] {
    return this.messages
      .filter((message) => message.type === type)
      .map((message) => message.body as Body<Name>);
  }

  get units(): Body<"accessUnit">[] {
    return this.all("accessUnit");
  }

  get numbers(): number[] {
    return this.units.map(({ number }) => number);
  }

  get state(): { code: number; text: string } | undefined {
    return this.all("state").at(-1);
  }

  async untilUnits(count: number): Promise<void> {
    await until(() => this.units.length >= count, `${count} access units`);
  }

  async untilState(code: number): Promise<string> {
    await until(() => this.state?.code === code, `State ${code}`);
    return this.state?.text ?? "";
  }

  untilClosed(): Promise<NonNullable<TestViewer["closed"]>> {
    return until(() => this.closed, "the connection's end");
  }

  /** Waits until the server has handled everything that was sent so far. */
  async settled(): Promise<void> {
    const token = Math.floor(Math.random() * 0xffff_ffff);
    this.send({ type: "ping", body: { token } });
    await until(() => this.all("pong").some((pong) => pong.token === token), "Pong");
  }
}
