import { once } from "node:events";
import { connect } from "node:net";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { vsockenc } from "../../../proto/protobuf.ts";
import { CLOSE_CODES } from "../../../proto/viewer-closing.ts";
import { VIEWER_LIMITS } from "../../../proto/viewer-limits.ts";
import { encodeViewerMessage, type OutgoingViewerMessage } from "../../../proto/viewer-messages.ts";
import { until } from "../../support/until.ts";
import { servers, stopClock } from "./support/test-server.ts";
import { TestViewer, watchUrl } from "./support/test-viewer.ts";

const helloOf = (version: number, count = 1): OutgoingViewerMessage => ({
  type: "hello",
  body: { version, codecs: Array(count).fill(vsockenc.Codec.H264) },
});
const hello = helloOf(1);
const watchOf = (source: string) => encodeViewerMessage({ type: "watch", body: { source } });
const reportOf = (periodMs: number) => encodeViewerMessage({ type: "report", body: { periodMs } });

describe("a viewer that violates the protocol", () => {
  const serve = servers();

  it.each<[name: string, bytes: Uint8Array | string, close: keyof typeof CLOSE_CODES, reason: RegExp]>([
    ["text", "hello", "notBinary", /binary/],
    ["nothing", new Uint8Array(), "malformed", /empty/],
    ["noise", new Uint8Array(11).fill(0xff), "malformed", /parse/],
    ["a length beyond the end", new Uint8Array([0x12, 0x7f, 1]), "malformed", /parse/],
    ["an unknown message", new Uint8Array([0x7a, 0]), "malformed", /kind/],
    ["a large message", new Uint8Array(VIEWER_LIMITS.MESSAGE_BYTES + 1), "tooBig", /4096/],
    ["hello twice", encodeViewerMessage(hello), "malformed", /second hello/],
    ["a long source", watchOf("x".repeat(200)), "malformed", /127/],
    ["a report of no time", reportOf(0), "malformed", /period_ms/],
    ["a report of an hour", reportOf(3_600_000), "malformed", /period/],
  ])("is closed with a code and a reason: %s", async (_name, bytes, close, reason) => {
    const { connect: connectViewer, registry } = await serve();
    const [viewer, other] = [await connectViewer(), await connectViewer()];
    viewer.socket.send(bytes);
    expect(await viewer.untilClosed()).toMatchObject({ code: CLOSE_CODES[close].code });
    expect(viewer.closed?.reason).toMatch(reason);
    await other.settled();
    expect(await registry.metrics()).toContain(`vsockenc_viewer_refused_total{reason="${close}"} 1`);
  });

  it("is cut in the middle of a message beyond RECEIVE_BYTES", async () => {
    const { connect: connectViewer } = await serve();
    const [viewer, other] = [await connectViewer(), await connectViewer()];
    viewer.socket.send(new Uint8Array(VIEWER_LIMITS.RECEIVE_BYTES + 1));
    expect(await viewer.untilClosed()).toMatchObject({ code: CLOSE_CODES.tooBig.code });
    await other.settled();
  });

  it.each<[name: string, message: OutgoingViewerMessage, close: keyof typeof CLOSE_CODES, reason: RegExp]>([
    ["another version", helloOf(2), "version", /version 2, expected 1: reload the page/],
    ["no hello", { type: "watch", body: { source: "x" } }, "malformed", /before hello/],
    ["too many codecs", helloOf(1, VIEWER_LIMITS.CODECS + 1), "malformed", /codecs/],
  ])("is closed for a wrong start: %s", async (_name, message, close, reason) => {
    const { address } = await serve();
    const viewer = await TestViewer.open(watchUrl(address));
    viewer.send(message);
    expect(await viewer.untilClosed()).toMatchObject({ code: CLOSE_CODES[close].code });
    expect(viewer.closed?.reason).toMatch(reason);
  });

  it("is closed when it sends nothing", async () => {
    const { address } = await serve();
    const viewer = await TestViewer.open(watchUrl(address));
    expect(await viewer.untilClosed()).toMatchObject({ code: CLOSE_CODES.noHello.code });
  });

  it("is closed when it floods, and the others continue", async () => {
    const { connect: connectViewer, source, viewer: other } = await serve.watched();
    const flood = await connectViewer();
    stopClock();
    for (let i = 0; i < 3 * VIEWER_LIMITS.MESSAGES_PER_SECOND; i += 1)
      flood.watch(i % 2 === 0 ? source.id : "");
    expect(await flood.untilClosed()).toMatchObject({ code: CLOSE_CODES.tooMany.code });
    source.deliver(1);
    await other.untilUnits(1);
    expect(source.starts).toBe(1);
  });

  it("is cut when it does not answer pings, and stays when it does", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    onTestFinished(() => void vi.useRealTimers());
    const { address } = await serve();
    const dead = await TestViewer.open(watchUrl(address), { autoPong: false });
    const alive = await TestViewer.open(watchUrl(address));
    for (const viewer of [dead, alive]) viewer.send(hello);
    for (const viewer of [dead, alive]) await viewer.settled();
    const pinged = once(alive.socket, "ping");
    vi.advanceTimersByTime(VIEWER_LIMITS.PING_INTERVAL_MS);
    await pinged;
    await alive.settled();
    expect(dead.closed).toBeUndefined();
    vi.advanceTimersByTime(VIEWER_LIMITS.PING_INTERVAL_MS);
    expect(await dead.untilClosed()).toMatchObject({ code: 1006 });
    await alive.settled();
  });

  it("is cut when it does not answer Close", async () => {
    // Pings, which would close it as well, are stopped.
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    onTestFinished(() => void vi.useRealTimers());
    const { address, server } = await serve();
    // Without `ws`, whose client would answer.
    const url = watchUrl(address);
    const socket = connect(Number(url.port), "127.0.0.1");
    const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13";
    const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    const target = `${url.pathname}${url.search}`;
    socket.write(`GET ${target} HTTP/1.1\r\nHost: ${url.host}\r\n${upgrade}\r\n${key}\r\n\r\n`);
    let received = "";
    socket.on("data", (chunk: Buffer) => {
      received += chunk.toString("latin1");
    });
    await until(() => received.includes("101"), "the upgrade");
    const cut = once(socket, "close");
    await server.close();
    await cut;
    expect(received).toContain("the server is shutting down");
  });

  it("gets the reason when the server stops", async () => {
    const { server, source, viewer } = await serve.watched();
    await server.close();
    expect(await viewer.untilClosed()).toEqual({ code: 1001, reason: "the server is shutting down" });
    expect(source.stops).toBe(1);
  });
});

describe("programs that connect and say nothing", () => {
  const serve = servers();

  it("keep no page and no viewer out, and are bounded in number", async () => {
    const { address, connect: connectViewer } = await serve();
    const early = await connectViewer();
    const { hostname, port } = new URL(address);
    let closed = 0;
    const silent = Array.from({ length: 3 * VIEWER_LIMITS.SPARE_CONNECTIONS }, () => {
      const socket = connect({ host: hostname, port: Number(port) });
      socket.on("error", () => undefined).on("close", () => (closed += 1));
      return socket;
    });
    onTestFinished(() => {
      for (const socket of silent) socket.destroy();
    });
    for (let count = 0; count < 10; count++) expect((await fetch(address)).status).toBe(200);
    await until(() => closed >= 2 * VIEWER_LIMITS.SPARE_CONNECTIONS, "the end of those beyond the limit");
    await (await connectViewer()).settled();
    await early.settled();
  });
});
