import { connect } from "node:net";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { vsockenc } from "../../../proto/protobuf.ts";
import { CLOSE_CODES } from "../../../proto/viewer-closing.ts";
import { VIEWER_LIMITS } from "../../../proto/viewer-limits.ts";
import { encodeViewerMessage, type OutgoingViewerMessage } from "../../../proto/viewer-messages.ts";
import { until } from "../../support/until.ts";
import { servers } from "./support/test-server.ts";
import { TestSource } from "./support/test-source.ts";
import { TestViewer, watchUrl } from "./support/test-viewer.ts";

const hello: OutgoingViewerMessage = { type: "hello", body: { version: 1, codecs: [vsockenc.Codec.H264] } };
const report = { periodMs: 1000 };

describe("a viewer that breaks the protocol", () => {
  const serve = servers();

  it.each<[name: string, bytes: Uint8Array | string, close: keyof typeof CLOSE_CODES, reason: RegExp]>([
    ["text", "hello", "notBinary", /binary/],
    ["nothing", new Uint8Array(), "malformed", /empty/],
    [
      "noise",
      new Uint8Array([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
      "malformed",
      /parse/,
    ],
    ["a length beyond the end", new Uint8Array([0x12, 0x7f, 1]), "malformed", /parse/],
    ["an unknown message", new Uint8Array([0x7a, 0]), "malformed", /kind/],
    ["a large message", new Uint8Array(VIEWER_LIMITS.MESSAGE_BYTES + 1), "tooBig", /4096/],
    ["hello twice", encodeViewerMessage(hello), "malformed", /twice/],
    [
      "a long source",
      encodeViewerMessage({ type: "watch", body: { source: "x".repeat(200) } }),
      "malformed",
      /127/,
    ],
    [
      "a report of no time",
      encodeViewerMessage({ type: "report", body: { ...report, periodMs: 0 } }),
      "malformed",
      /period_ms/,
    ],
    [
      "a report of an hour",
      encodeViewerMessage({ type: "report", body: { periodMs: 3_600_000 } }),
      "malformed",
      /period/,
    ],
  ])("is closed with a code and a reason: %s", async (_name, bytes, close, reason) => {
    const { connect: connectViewer, registry } = await serve();
    const [viewer, other] = [await connectViewer(), await connectViewer()];
    viewer.socket.send(bytes);
    expect(await viewer.untilClosed()).toMatchObject({ code: CLOSE_CODES[close].code });
    expect(viewer.closed?.reason).toMatch(reason);
    await other.settled();
    expect(await registry.metrics()).toContain(`vsockenc_viewer_refused_total{reason="${close}"} 1`);
  });

  it("is not read to the end of a message that is larger by far", async () => {
    const { connect: connectViewer } = await serve();
    const [viewer, other] = [await connectViewer(), await connectViewer()];
    viewer.socket.send(new Uint8Array(VIEWER_LIMITS.RECEIVE_BYTES + 1));
    expect(await viewer.untilClosed()).toMatchObject({ code: CLOSE_CODES.tooBig.code });
    await other.settled();
  });

  it.each<[name: string, message: OutgoingViewerMessage, close: keyof typeof CLOSE_CODES, reason: RegExp]>([
    ["another version", { type: "hello", body: { version: 2 } }, "version", /version 2: load the page again/],
    ["no hello", { type: "watch", body: { source: "x" } }, "malformed", /before hello/],
    [
      "too many codecs",
      { type: "hello", body: { version: 1, codecs: Array(VIEWER_LIMITS.CODECS + 1).fill(1) } },
      "malformed",
      /codecs/,
    ],
  ])("is closed for what it begins with: %s", async (_name, message, close, reason) => {
    const { address } = await serve();
    const viewer = await TestViewer.open(watchUrl(address));
    viewer.send(message);
    expect(await viewer.untilClosed()).toMatchObject({ code: CLOSE_CODES[close].code });
    expect(viewer.closed?.reason).toMatch(reason);
  });

  it("is closed when it says nothing at all", async () => {
    const { address } = await serve();
    const viewer = await TestViewer.open(watchUrl(address));
    expect(await viewer.untilClosed()).toMatchObject({ code: CLOSE_CODES.noHello.code });
  });

  it("is closed when it floods, and the others go on", async () => {
    const { server, connect: connectViewer } = await serve();
    const source = new TestSource();
    server.add(source);
    const [flood, other] = [await connectViewer(), await connectViewer()];
    other.watch(source.id);
    await until(() => source.running, "the start");
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
    let pings = 0;
    alive.socket.on("ping", () => {
      pings += 1;
    });
    vi.advanceTimersByTime(VIEWER_LIMITS.PING_INTERVAL_MS);
    await until(() => pings === 1, "a ping");
    await alive.settled();
    expect(dead.closed).toBeUndefined();
    vi.advanceTimersByTime(VIEWER_LIMITS.PING_INTERVAL_MS);
    expect(await dead.untilClosed()).toMatchObject({ code: 1006 });
    await alive.settled();
  });

  it("is cut when it does not answer Close", async () => {
    // Pings, which would end it as well, stand still.
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    onTestFinished(() => void vi.useRealTimers());
    const { address, server } = await serve();
    // By hand: a client of `ws` would answer.
    const url = watchUrl(address);
    const socket = connect(Number(url.port), "127.0.0.1");
    const key = "dGhlIHNhbXBsZSBub25jZQ==";
    const head = [
      `GET ${url.pathname}${url.search} HTTP/1.1`,
      `Host: ${url.host}`,
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      `Sec-WebSocket-Key: ${key}`,
    ];
    socket.write(`${head.join("\r\n")}\r\n\r\n`);
    let received = "";
    socket.on("data", (chunk: Buffer) => {
      received += chunk.toString("latin1");
    });
    await until(() => received.includes("101"), "the upgrade");
    let closed = false;
    socket.on("close", () => {
      closed = true;
    });
    await server.close();
    await until(() => closed, "the cut");
    expect(received).toContain("the server is being stopped");
  });

  it("is told when the server stops", async () => {
    const { server, connect: connectViewer } = await serve();
    const source = new TestSource();
    server.add(source);
    const viewer = await connectViewer();
    viewer.watch(source.id);
    await until(() => source.running, "the start");
    await server.close();
    expect(await viewer.untilClosed()).toEqual({ code: 1001, reason: "the server is being stopped" });
    expect(source.stops).toBe(1);
  });
});
