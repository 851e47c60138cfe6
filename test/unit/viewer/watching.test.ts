import { describe, expect, it } from "vitest";
import { vsockenc } from "../../../proto/protobuf.ts";
import { VIEWER_LIMITS } from "../../../proto/viewer-limits.ts";
import { until } from "../../support/until.ts";
import { encodeUnits } from "./support/streams.ts";
import { servers, stopClock } from "./support/test-server.ts";
import { INTERVAL_US, longGroup, STAGES, smallStream, TestSource } from "./support/test-source.ts";

const { AWAY, FAILED, IDLE, RUNNING } = vsockenc.viewer.StateCode;
const { H264, H265 } = vsockenc.Codec;

describe("watching a source", () => {
  const serve = servers();
  const { watched } = serve;

  it("sends access units byte for byte, after the configuration from their SPS", async () => {
    const { source, viewer } = await watched();
    source.deliver(12);
    await viewer.untilUnits(12);
    expect(viewer.messages.findIndex(({ type }) => type === "configuration")).toBeLessThan(
      viewer.messages.findIndex(({ type }) => type === "accessUnit"),
    );
    expect(viewer.all("configuration")).toMatchObject([{ width: 320, height: 180 }]);
    expect(viewer.all("configuration")[0]?.codec).toMatch(/^avc1\.42[0-9A-F]{4}$/);
    smallStream()
      .slice(0, 12)
      .forEach(({ data, key }, index) => {
        const unit = viewer.units[index];
        expect(Buffer.compare(Buffer.from(unit?.data ?? []), data)).toBe(0);
        expect(unit).toMatchObject({
          number: index + 1,
          key,
          replay: false,
          ptsUs: (index + 1) * INTERVAL_US,
        });
        expect(unit?.stages).toMatchObject(STAGES);
      });
  });

  it("stamps each access unit by the clock of its Pongs", async () => {
    const { source, viewer } = await watched();
    const clock: number[] = [];
    const read = async (): Promise<void> => {
      await viewer.settled();
      clock.push(Number(viewer.all("pong").at(-1)?.clockUs));
    };
    await read();
    source.deliver(1);
    await viewer.untilUnits(1);
    await read();
    const [unit] = viewer.units;
    const sentUs = Number(unit?.sentUs);
    expect([clock[0], sentUs, clock[1]]).toEqual([clock[0], sentUs, clock[1]].sort((a = 0, b = 0) => a - b));
    // The time in the server lies between the two as well.
    expect(sentUs - Number(unit?.stages?.deliverUs)).toBeGreaterThanOrEqual(clock[0] ?? Number.NaN);
  });

  it("replays the current group to a new viewer, and shows only its last picture", async () => {
    const { connect, source, viewer: first } = await watched();
    const second = await connect();
    source.deliver(14);
    await first.untilUnits(14);
    second.watch(source.id);
    await second.untilUnits(4);
    expect(second.numbers).toEqual([11, 12, 13, 14]);
    expect(second.units.map(({ replay }) => replay)).toEqual([true, true, true, false]);
    expect(second.all("configuration")).toHaveLength(1);
    source.deliver(2);
    await second.untilUnits(6);
    expect(second.numbers).toEqual([11, 12, 13, 14, 15, 16]);
    expect(second.units.slice(4).map(({ replay }) => replay)).toEqual([false, false]);
    expect(source).toMatchObject({ starts: 1, keyFrameRequests: 0 });
  });

  it("requests a key frame when the group is too long to be replayed", async () => {
    const { connect, source } = await watched({ units: longGroup() });
    const second = await connect();
    source.deliver(VIEWER_LIMITS.GROUP_UNITS + 2);
    second.watch(source.id);
    await until(() => source.keyFrameRequests === 1, "the request");
    source.deliver(1);
    source.deliverKey();
    await second.untilUnits(1);
    expect(second.units).toMatchObject([{ key: true, replay: false }]);
  });

  it("throttles the key-frame requests of all viewers together, and loses none", async () => {
    const { source, viewer: one, other } = await watched({}, 2);
    const viewers = [one, other];
    source.deliver(1);
    for (let i = 0; i < 20; i += 1) {
      for (const viewer of viewers) viewer.send({ type: "keyFrameRequest", body: {} });
    }
    for (const viewer of viewers) await viewer.settled();
    expect(source.keyFrameRequests).toBe(1);
    // A request during the pause is forwarded after it.
    await until(() => source.keyFrameRequests === 2, "the second request");
    source.deliverKey();
    for (const viewer of viewers) await viewer.untilUnits(2);
    expect(source.keyFrameRequests).toBe(2);
  });

  it("drops a pending request when a key frame arrives", async () => {
    const { source, viewer } = await watched();
    source.deliver(1);
    for (let i = 0; i < 2; i += 1) viewer.send({ type: "keyFrameRequest", body: {} });
    await viewer.settled();
    source.deliverKey();
    await viewer.untilUnits(2);
    const seconds = viewer.all("statistics").length;
    await until(() => viewer.all("statistics").length === seconds + 2, "more than KEY_FRAME_MS");
    expect(source.keyFrameRequests).toBe(1);
  });

  it("starts a source for the first viewer, and stops it some time after the last", async () => {
    const { connect, sources } = await serve.sources({});
    const [source] = sources as [TestSource];
    const [first, second] = [await connect(), await connect()];
    expect(source.starts).toBe(0);
    first.watch(source.id);
    second.watch(source.id);
    await until(() => source.running, "the start");
    first.socket.close();
    second.watch("");
    await second.settled();
    // A viewer that comes back in time finds it running.
    second.watch(source.id);
    await second.settled();
    expect(source).toMatchObject({ starts: 1, stops: 0 });
    second.watch("");
    await until(() => source.stops === 1, "the stop");
    second.watch(source.id);
    await until(() => source.starts === 2, "the second start");
  });

  it("stops sending the old source's units when another is watched", async () => {
    const { connect, sources } = await serve.sources({ id: "one" }, { id: "two" });
    const [one, two] = sources as [TestSource, TestSource];
    const viewer = await connect();
    viewer.watch("one");
    await until(() => one.running, "the first start");
    one.deliver(3);
    viewer.watch("two");
    await until(() => two.running, "the second start");
    one.deliver(3);
    two.deliver(5);
    await viewer.untilUnits(8);
    expect(viewer.numbers).toEqual([1, 2, 3, 1, 2, 3, 4, 5]);
    expect(viewer.all("configuration")).toHaveLength(2);
    // Back to an unchanged source: the decoder has another configuration now.
    viewer.watch("one");
    await viewer.untilUnits(14);
    expect(viewer.all("configuration")).toHaveLength(3);
    // Watching the same source again starts again as well.
    viewer.watch("one");
    await viewer.untilUnits(20);
    expect(viewer.all("configuration")).toHaveLength(4);
  });

  it("debounces Watch: a viewer that flips through sources starts the last one, not all", async () => {
    const ids = Array.from({ length: 60 }, (_, index) => ({ id: `source/${index}` }));
    const { connect, sources } = await serve.sources(...ids);
    const viewer = await connect();
    stopClock();
    for (const { id } of sources) viewer.watch(id);
    await until(() => sources.at(-1)?.running === true, "the last");
    expect(sources.filter(({ starts }) => starts > 0)).toHaveLength(VIEWER_LIMITS.WATCHES_PER_SECOND + 1);
    sources.at(-1)?.deliver(3);
    await viewer.untilUnits(3);
  });

  it("sends a new size before its key unit, and nothing while it stays the same", async () => {
    const wider = encodeUnits("h264", { width: 336, height: 180, frames: 3, group: 3 });
    const { source, viewer } = await watched({ units: [...smallStream().slice(0, 20), ...wider] });
    source.deliver(23);
    await viewer.untilUnits(23);
    const received = viewer.messages.map((message) => {
      if (message.type === "configuration") return message.body.width;
      return message.type === "accessUnit" && message.body.key ? `key ${message.body.number}` : undefined;
    });
    expect(received.filter((what) => what !== undefined)).toEqual([320, "key 1", "key 11", 336, "key 21"]);
  });

  it("sends statistics once a second, with the units that the viewer skipped", async () => {
    const { source, viewer, registry } = await watched();
    source.deliver(7);
    await until(() => viewer.all("statistics").some(({ frames }) => frames === 7), "Statistics");
    const bytes = smallStream()
      .slice(0, 7)
      .reduce((sum, { data }) => sum + data.length, 0);
    const own = { frames: 7, bytes, viewers: 1, skipped: 0 };
    expect(viewer.all("statistics").at(-1)).toMatchObject({ ...source.statistics(), ...own });
    const metrics = await registry.metrics();
    expect(metrics).toContain('vsockenc_viewers{vm="test"} 1');
    expect(metrics).toContain('vsockenc_viewer_units_sent_total{vm="test"} 7');
  });

  it("says why there is no picture, and when there is one again", async () => {
    const { server, connect } = await serve();
    const source = new TestSource();
    const viewer = await connect();
    viewer.watch(source.id);
    expect(await viewer.untilState(AWAY)).toContain(source.id);
    server.add(source);
    expect(await viewer.untilState(RUNNING)).toBe("Waiting for the first picture.");
    source.deliver(3);
    await until(() => viewer.state?.text === "", "the picture");
    source.report({ code: "away", text: "The relay is being restarted." });
    expect(await viewer.untilState(AWAY)).toBe("The relay is being restarted.");
    source.report({ code: "failed", text: "No encoder." });
    expect(await viewer.untilState(FAILED)).toBe("No encoder.");
    source.report({ code: "running" });
    const before = viewer.units.length;
    // Units before a key frame cannot be decoded after the interruption.
    source.deliver(2);
    await until(() => source.keyFrameRequests > 0, "a key-frame request");
    source.deliverKey();
    await viewer.untilUnits(before + 1);
    expect(viewer.units[before]).toMatchObject({ key: true });
    expect(viewer.state).toMatchObject({ code: RUNNING, text: "" });
    expect(viewer.all("configuration")).toHaveLength(2);
    server.remove(source.id);
    await viewer.untilState(AWAY);
    expect(source.stops).toBe(1);
    server.add(source);
    await until(() => source.running, "that it is back");
  });

  it("reports a running source without units as idle, and sends its picture to new viewers", async () => {
    const { connect, source, viewer } = await watched();
    source.deliver(2);
    await viewer.untilState(IDLE);
    const late = await connect();
    late.watch(source.id);
    await late.untilUnits(2);
    expect(late.units.at(-1)).toMatchObject({ replay: false });
    await late.untilState(IDLE);
    source.deliver(1);
    for (const one of [viewer, late]) {
      await one.settled();
      expect(one.state).toMatchObject({ code: RUNNING, text: "" });
    }
  });

  it("rejects a browser that cannot decode the codec, and serves the others", async () => {
    const { connect, sources } = await serve.sources({});
    const [source] = sources as [TestSource];
    const [able, unable] = [await connect([H265, H264]), await connect([H265])];
    able.watch(source.id);
    unable.watch(source.id);
    await until(() => source.running, "the start");
    source.deliver(4);
    await able.untilUnits(4);
    expect(await unable.untilState(FAILED)).toContain("H.264");
    await unable.settled();
    expect(unable.units).toHaveLength(0);
  });

  it("reports an invalid parameter set, and continues with the next valid one", async () => {
    const { source, viewer } = await watched();
    source.deliverBytes(Buffer.from([0, 0, 1, 0x67, 0x42, 0, 0x1e]), true);
    expect(await viewer.untilState(FAILED)).toContain("seq_parameter_set_id");
    source.deliver(2);
    await viewer.untilUnits(2);
    expect(viewer.units[0]).toMatchObject({ key: true });
  });

  it("serves the other sources when one throws at its start", async () => {
    const onStart = (): never => {
      throw new Error("the pipeline has no encoder");
    };
    const { server, connect, sources } = await serve.sources({ id: "broken", onStart }, { id: "sound" });
    const [broken, sound] = sources as [TestSource, TestSource];
    const viewer = await connect();
    viewer.watch("broken");
    expect(await viewer.untilState(FAILED)).toBe("the pipeline has no encoder");
    viewer.send({ type: "keyFrameRequest", body: {} });
    viewer.watch("sound");
    await until(() => sound.running, "the start");
    sound.deliver(1);
    await viewer.untilUnits(1);
    server.remove("broken");
    expect(broken).toMatchObject({ starts: 1, stops: 0, keyFrameRequests: 0 });
  });
});
