import { describe, expect, it } from "vitest";
import { vsockenc } from "../../../proto/protobuf.ts";
import { VIEWER_LIMITS } from "../../../proto/viewer-limits.ts";
import { ViewerSourceError } from "../../../viewer/server/source.ts";
import { until } from "../../support/until.ts";
import { servers, stopClock } from "./support/test-server.ts";
import { longGroup, smallStream, TestSource } from "./support/test-source.ts";
import type { TestViewer } from "./support/test-viewer.ts";

const { H264, H265 } = vsockenc.Codec;

describe("the list of sources", () => {
  const serve = servers();

  it("is sent at the start and at every change", async () => {
    const { server, connect } = await serve.sources({ id: "a/stream", title: "A", input: true });
    const viewer = await connect();
    expect(viewer.all("hello")).toMatchObject([{ version: 1, software: "test 1" }]);
    expect(viewer.all("sources").at(-1)?.sources).toMatchObject([
      { id: "a/stream", kind: vsockenc.viewer.SourceKind.STREAM, vm: "test", title: "A", input: true },
    ]);
    server.add(new TestSource({ id: "b" }));
    server.add(new TestSource({ id: "c" }));
    await until(() => viewer.all("sources").at(-1)?.sources.length === 3, "three");
    // Simultaneous changes are sent once.
    expect(viewer.all("sources")).toHaveLength(2);
    expect(viewer.all("sources").at(-1)?.sources[1]).toMatchObject({ id: "b", input: false });
    server.remove("a/stream");
    await until(() => viewer.all("sources").at(-1)?.sources.length === 2, "two");
  });

  it("rejects duplicate ids, invalid ids, and too many sources", async () => {
    const { server } = await serve.sources({ id: "a" });
    for (const id of ["a", "", "a b", "ä", "x".repeat(128)]) {
      expect(() => server.add(new TestSource({ id })), id).toThrow(ViewerSourceError);
    }
    for (let i = 1; i < VIEWER_LIMITS.SOURCES; i += 1) server.add(new TestSource({ id: `s${i}` }));
    expect(() => server.add(new TestSource({ id: "one-more" }))).toThrow(/at most 256/);
  });

  it("cuts a title that is too long for a message", async () => {
    const { connect } = await serve.sources({ title: "ü".repeat(1000) });
    const viewer = await connect();
    const title = viewer.all("sources").at(-1)?.sources[0]?.title;
    expect(title).toBe("ü".repeat(127));
  });
});

describe("thumbnails", () => {
  const serve = servers();

  /** Which units of the small stream each thumbnail consists of. */
  function unitsOf(viewer: TestViewer): number[][] {
    const indexOf = (data: Uint8Array): number =>
      smallStream().findIndex((unit) => Buffer.compare(unit.data, data) === 0);
    return viewer.all("thumbnail").map(({ units }) => units.map(indexOf));
  }

  it("are the newest picture, then key units, one per source and second, for viewers with the list open", async () => {
    const { connect, source, viewer: watching } = await serve.watched();
    const [listing, neither] = [await connect(), await connect()];
    source.deliver(15);
    listing.watch("");
    await until(() => listing.all("thumbnail").length === 1, "the thumbnail");
    const [thumbnail] = listing.all("thumbnail");
    expect(thumbnail).toMatchObject({ source: source.id, codec: watching.all("configuration")[0]?.codec });
    expect(unitsOf(listing)).toEqual([[10, 11, 12, 13, 14]]);
    // Two more key units in one second are one thumbnail.
    source.deliver(20);
    await until(() => listing.all("thumbnail").length === 2, "the next");
    expect(unitsOf(listing)[1]).toEqual([30]);
    listing.watch(source.id);
    await listing.settled();
    source.deliver(10);
    await until(() => watching.all("statistics").some(({ frames }) => frames === 45), "a second");
    await listing.settled();
    expect(listing.all("thumbnail")).toHaveLength(2);
    expect(neither.all("thumbnail")).toHaveLength(0);
    expect(watching.all("thumbnail")).toHaveLength(0);
  });

  it("follow a source that rarely changes, also after it has stopped", async () => {
    const { connect, source } = await serve.watched();
    const listing = await connect();
    source.deliver(1);
    listing.watch("");
    await until(() => listing.all("thumbnail").length === 1, "the first thumbnail");
    source.deliver(3);
    await until(() => listing.all("thumbnail").length === 2, "the second");
    expect(unitsOf(listing)).toEqual([[0], [0, 1, 2, 3]]);
    const late = await connect();
    late.watch("");
    await until(() => late.all("thumbnail").length === 1, "the present picture");
    expect(unitsOf(late)).toEqual([[0, 1, 2, 3]]);
    expect(source.keyFrameRequests).toBe(0);
  });

  it("are a requested key frame when the newest picture has too many units", async () => {
    const { connect, source, viewer: watching } = await serve.watched({ units: longGroup() });
    const listing = await connect();
    source.deliver(VIEWER_LIMITS.GROUP_UNITS + 2);
    listing.watch("");
    await until(() => source.keyFrameRequests === 1, "the request");
    const before = listing.all("thumbnail").length;
    source.deliverKey();
    await until(() => listing.all("thumbnail").length > before, "its picture");
    expect(unitsOf(listing).at(-1)).toEqual([0]);
    await until(() => watching.all("statistics").length > 4, "some seconds");
    expect(source.keyFrameRequests).toBe(1);
  });

  it("start unwatched sources briefly, one at a time", async () => {
    const { server, connect, sources } = await serve.sources({ id: "a" }, { id: "b" }, { id: "c" });
    const clock = new TestSource({ id: "clock" });
    server.add(clock);
    const [viewer, other] = [await connect(), await connect()];
    other.watch(clock.id);
    viewer.watch("");
    await until(() => sources.some(({ running }) => running), "the first start");
    // The others stay off while this one is waited for.
    await until(() => other.all("statistics").length >= 3, "some seconds");
    for (const [index] of sources.entries()) {
      await until(() => sources.reduce((sum, { starts }) => sum + starts, 0) === index + 1, "a start");
      const started = sources.filter(({ running }) => running);
      for (const source of started) source.deliver(1);
      await until(() => viewer.all("thumbnail").length === index + 1, "its thumbnail");
    }
    expect(new Set(viewer.all("thumbnail").map(({ source }) => source))).toEqual(new Set(["a", "b", "c"]));
    viewer.socket.close();
    await until(() => sources.every(({ running }) => !running), "that all are stopped");
    for (const source of sources) expect(source).toMatchObject({ starts: 1, stops: 1 });
  });

  it("stop their source when the list is closed", async () => {
    const { connect, sources } = await serve.sources({});
    const viewer = await connect();
    viewer.watch("");
    await until(() => sources[0]?.running === true, "the start");
    viewer.socket.close();
    await until(() => sources[0]?.running === false, "the stop");
  });

  it("go to viewers that can decode them, without key units that are too large", async () => {
    const [key] = smallStream();
    const filler = Buffer.alloc(VIEWER_LIMITS.THUMBNAIL_BYTES);
    const huge = { key: true, data: Buffer.concat([key?.data ?? filler, filler]) };
    const { connect, sources } = await serve.sources({ id: "small" }, { id: "huge", units: [huge] });
    const [able, unable] = [await connect([H264]), await connect([H265])];
    for (const source of sources) {
      able.watch(source.id);
      await until(() => source.running, "the start");
      source.deliver(1);
      await until(() => able.units.length > 0, "a unit");
    }
    unable.watch("");
    able.watch("");
    await until(() => able.all("thumbnail").length > 0, "a thumbnail");
    await unable.settled();
    expect(able.all("thumbnail").map(({ source }) => source)).toEqual(["small"]);
    expect(unable.all("thumbnail")).toHaveLength(0);
  });
});

describe("pointer and keyboard", () => {
  const serve = servers();
  const pointer = { x: 100, y: 65_535, buttons: 0, wheelX: 0, wheelY: 0 };

  it("reach the watched source, and are released when the viewer leaves", async () => {
    const { connect, sources } = await serve.sources({ input: true });
    const [source] = sources as [TestSource];
    const viewer = await connect();
    viewer.send({ type: "pointer", body: pointer });
    viewer.watch(source.id);
    viewer.send({ type: "pointer", body: { ...pointer, buttons: 1, wheelY: -120 } });
    const keys = [
      { code: 30, pressed: true },
      { code: 31, pressed: true },
      { code: 31, pressed: false },
    ];
    for (const body of keys) viewer.send({ type: "key", body });
    await viewer.settled();
    expect(source.pointers).toEqual([{ ...pointer, buttons: 1, wheelY: -120 }]);
    expect(source.keys).toEqual(keys);
    viewer.socket.terminate();
    await until(() => source.keys.length === 4, "the release");
    expect(source.keys.at(-1)).toEqual({ code: 30, pressed: false });
    expect(source.pointers.at(-1)).toEqual({ ...pointer, buttons: 0 });
  });

  it("are ignored and counted if the source takes none", async () => {
    const { viewer, registry } = await serve.watched();
    viewer.send({ type: "pointer", body: pointer });
    viewer.send({ type: "key", body: { code: 30, pressed: true } });
    await viewer.settled();
    expect(await registry.metrics()).toContain(
      'vsockenc_viewer_input_ignored_total{vm="test",reason="unavailable"} 2',
    );
  });

  it("are limited in rate, but no button or wheel event is lost", async () => {
    const { source, viewer, registry } = await serve.watched({ input: true });
    stopClock();
    const moves = VIEWER_LIMITS.POINTER_MOVES_PER_SECOND * 2;
    for (let x = 0; x < moves; x += 1) viewer.send({ type: "pointer", body: { ...pointer, x } });
    const others = [{ ...pointer, buttons: 1 }, { ...pointer, buttons: 1, wheelY: 120 }, pointer];
    for (const body of others) viewer.send({ type: "pointer", body });
    await viewer.settled();
    expect(source.pointers).toHaveLength(VIEWER_LIMITS.POINTER_MOVES_PER_SECOND + 3);
    expect(source.pointers.slice(-3)).toEqual(others);
    const ignored = VIEWER_LIMITS.POINTER_MOVES_PER_SECOND;
    expect(await registry.metrics()).toContain(`input_ignored_total{vm="test",reason="rate"} ${ignored}`);
  });

  it.each([
    ["Pointer.x", { type: "pointer", body: { x: 65_536 } }],
    ["Pointer.y", { type: "pointer", body: { y: 65_536 } }],
    ["Pointer.buttons", { type: "pointer", body: { buttons: 32 } }],
    ["Pointer.wheel_x", { type: "pointer", body: { wheelX: -12_001 } }],
    ["Pointer.wheel_y", { type: "pointer", body: { wheelY: 12_001 } }],
    ["Key.code", { type: "key", body: { code: 0x300, pressed: true } }],
    ["Key.code", { type: "key", body: { code: 0, pressed: true } }],
  ] as const)("have bounds: %s", async (field, message) => {
    const { source, viewer } = await serve.watched({ input: true });
    viewer.send(message);
    expect(await viewer.untilClosed()).toMatchObject({ code: 4400 });
    expect(viewer.closed?.reason).toContain(field);
    expect([source.pointers, source.keys]).toEqual([[], []]);
  });

  it("are limited to MAX_KEYS_DOWN held keys", async () => {
    const { source, viewer } = await serve.watched({ input: true });
    for (let code = 1; code <= VIEWER_LIMITS.MAX_KEYS_DOWN + 1; code += 1) {
      viewer.send({ type: "key", body: { code, pressed: true } });
    }
    expect(await viewer.untilClosed()).toMatchObject({ code: 4400 });
    const down = new Set(source.keys.filter(({ pressed }) => pressed).map(({ code }) => code));
    expect(down.size).toBe(VIEWER_LIMITS.MAX_KEYS_DOWN);
    for (const { code } of source.keys.filter(({ pressed }) => !pressed)) down.delete(code);
    expect(down.size).toBe(0);
  });
});
