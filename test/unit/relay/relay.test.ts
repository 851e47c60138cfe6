import { createServer, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { mappedRuns } from "../../../host/native/picture.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { vsockenc } from "../../../proto/protobuf.ts";
import { relayBench } from "../../support/relay-bench.ts";
import { HEIGHT, RelayGuest, WIDTH, XR24 } from "../../support/relay-guest.ts";
import { until } from "../../support/until.ts";

const { ErrorCode, ErrorSubject } = vsockenc;

const bench = relayBench();
let guest: RelayGuest;
let closeChardev: () => void;

/** The test stands in for QEMU's chardev and for the guest. */
beforeEach(() => {
  let socket: Socket | undefined;
  guest = new RelayGuest((bytes) => socket?.write(bytes));
  const server = createServer((accepted) => {
    socket = accepted;
    socket.on("data", (chunk) => guest.push(chunk));
    socket.on("error", () => undefined);
  }).listen(bench.path("port"));
  closeChardev = () => {
    server.close();
    socket?.destroy();
  };
});
afterEach(() => closeChardev());

async function start(encoder = "null", exported = true): Promise<void> {
  const exporter = exported ? `export = "${bench.path("e")}"` : "";
  if (exported) expect(bench.exporter.held).toBe(0);
  await bench.start(`[[vm]]\nname = "t"\nports = ["${bench.path("port")}"]\n${exporter}`, { encoder });
  await until(() => guest.all("greeting").length > 0, "a greeting");
  if (exported) await guest.open();
}

describe("Relay", () => {
  it("encodes what the guest's resources hold, in order, and answers each frame twice", async () => {
    await start("libx264");
    for (const id of [1, 2, 3]) bench.resource(id, id * 60);
    guest.configure(1);
    for (const id of [1, 2, 3]) guest.attach(id, id);
    for (let frame = 0; frame < 30; frame += 1) {
      guest.frame(frame, 1 + (frame % 3), { forceKey: frame === 7 });
      await guest.next("packet", frame + 1);
    }
    guest.send({ type: "drain", body: { token: 5 } });
    await guest.next("drained");
    const packets = guest.all("packet");
    expect(packets.map(({ body }) => body.frame)).toEqual(Array.from({ length: 30 }, (_, n) => n));
    expect(packets.filter(({ body }) => body.key).map(({ body }) => body.frame)).toEqual([0, 7]);
    expect(guest.all("frameDone").map(({ body }) => body.frame)).toEqual(
      packets.map(({ body }) => body.frame),
    );
    expect(guest.all("attached")).toMatchObject([1, 2, 3].map((buffer) => ({ body: { buffer, tier: 1 } })));
    const sizes = packets.reduce((sum, { body }) => sum + body.size, 0);
    expect(guest.all("data").reduce((sum, { bytes }) => sum + bytes.length, 0)).toBe(sizes);
    expect(guest.all("error")).toEqual([]);
  });

  it("offers its encoders and limits", async () => {
    await start("libx264");
    expect(guest.all("welcome").at(-1)?.body).toMatchObject({
      maxInFlight: LIMITS.MAX_IN_FLIGHT_FRAMES,
      maxAttached: LIMITS.MAX_ATTACHED_BUFFERS,
      encoders: [{ name: "libx264", codec: vsockenc.Codec.H264, profiles: [1, 2, 3] }],
    });
  });

  it("says what is in force, also after a change, and keeps it when a change is refused", async () => {
    await start("libx264");
    bench.resource(1, 50);
    guest.attach(0, 1);
    guest.configure(1, { bitrateKbps: 0, levels: [40], profile: vsockenc.Profile.H264_MAIN });
    guest.configure(2, { bitrateKbps: 700, levels: [40], profile: vsockenc.Profile.H264_MAIN });
    guest.configure(3, { levels: [10] });
    const { body } = await guest.next("error");
    expect(body).toMatchObject({
      ...{ code: ErrorCode.ENCODER_UNAVAILABLE, subject: ErrorSubject.CONFIGURATION, id: 3, fatal: false },
      text: expect.stringMatching(/the stream needs H.264 level 2, levels allows 1: /),
    });
    expect(guest.all("configured").map((message) => message.body)).toMatchObject([
      { serial: 1, bitrateKbps: 300, keyframeInterval: 60 },
      { serial: 2, bitrateKbps: 700, keyframeInterval: 60 },
    ]);
    guest.frame(1, 0, { configuration: 2 });
    expect((await guest.next("packet")).body.key).toBe(true);
  });

  it("takes frames and configurations whose numbers wrap, and none from before", async () => {
    await start("libx264");
    bench.resource(1);
    guest.attach(0, 1);
    const last = 2 ** 32 - 1;
    for (const serial of [1, 2 ** 31 - 1, last - 1, last, 0]) guest.configure(serial);
    await guest.next("configured", 5);
    const frames = [2 ** 31 - 1, last - 1, last, 0, 1];
    for (const [index, frame] of frames.entries()) {
      guest.frame(frame, 0, { ptsNs: 1 + index, configuration: 0 });
      await guest.next("packet", 1 + index);
    }
    expect(guest.all("packet").map(({ body }) => body.frame)).toEqual(frames);
    expect(guest.all("frameDone").map(({ body }) => body.frame)).toEqual(frames);
    expect(guest.all("error")).toEqual([]);
    guest.frame(last, 0, { ptsNs: 1000, configuration: 0 });
    const { body } = await guest.next("error", 1);
    expect(body).toMatchObject({
      fatal: true,
      text: "frame 4294967295 after frame 1; numbers must increase",
    });
  });

  it("refuses a resource that does not exist, and the frames that would have used it", async () => {
    await start();
    guest.configure(1);
    guest.attach(0, 99);
    guest.frame(1, 0);
    await guest.next("error", 2);
    expect(guest.all("error").map(({ body }) => body)).toMatchObject([
      { code: ErrorCode.NO_SUCH_RESOURCE, subject: ErrorSubject.BUFFER, fatal: false },
      { code: ErrorCode.UNKNOWN_BUFFER, subject: ErrorSubject.FRAME_NUMBER, id: 1 },
    ]);
    expect(guest.all("frameDone").length).toBe(1);
  });

  it("refuses a layout outside its resource and names the bytes", async () => {
    await start();
    bench.resource(1, 0);
    guest.attach(0, 1, WIDTH * 8);
    const { body } = await guest.next("error");
    expect(body).toMatchObject({ code: ErrorCode.LAYOUT_OUTSIDE_RESOURCE, subject: ErrorSubject.BUFFER });
    expect(body.text).toMatch(/\d/);
    await until(() => bench.exporter.held === 0, "the release");
  });

  it.each([
    ["width", { width: 8 }],
    ["height", { height: 20000 }],
    ["bitrate_kbps", { bitrateKbps: 2_000_000 }],
    ["codec", { codec: 9 as vsockenc.Codec }],
    ["framerate", { framerateDenominator: 0 }],
  ])("refuses a configuration with a wrong %s", async (field, change) => {
    await start();
    const body = { serial: 1, codec: vsockenc.Codec.H264, width: WIDTH, height: HEIGHT };
    guest.send({
      type: "configure",
      body: { ...body, framerateNumerator: 30, framerateDenominator: 1, ...change },
    });
    const answer = await guest.next("error");
    expect(answer.body).toMatchObject({ subject: ErrorSubject.CONFIGURATION, id: 1, fatal: false });
    expect(answer.body.text).toContain(field);
  });

  it("lets a revoked resource go, and refuses its buffer from then on", async () => {
    await start();
    bench.resource(1, 10);
    guest.configure(1);
    guest.attach(0, 1);
    await guest.next("attached");
    expect(mappedRuns()).toBeGreaterThan(0);
    await bench.exporter.free(1);
    await until(() => bench.exporter.held === 0, "the release");
    expect(mappedRuns()).toBe(0);
    guest.frame(1, 0);
    expect((await guest.next("error")).body.code).toBe(ErrorCode.NO_SUCH_RESOURCE);
    guest.send({ type: "detach", body: { buffer: 0 } });
    bench.resource(1, 20);
    guest.attach(0, 1);
    guest.frame(2, 0);
    await guest.next("packet");
  });

  it("unmaps and releases everything when the session ends", async () => {
    await start();
    for (const id of [1, 2]) {
      bench.resource(id, 0);
      guest.attach(id, id);
    }
    await guest.next("attached", 2);
    guest.send({ type: "bye", body: {} });
    await until(() => bench.exporter.held === 0, "the releases");
    expect(mappedRuns()).toBe(0);
  });

  it("changes the bit rate in mid-stream without a key frame, and the size with one", async () => {
    await start("libx264");
    bench.resource(1, 50);
    guest.configure(1);
    guest.attach(0, 1);
    guest.frame(1, 0);
    guest.configure(2, { bitrateKbps: 500 });
    guest.frame(2, 0, { configuration: 2 });
    guest.configure(3, { width: 160, height: 120 });
    const planes = [{ resource: 1, stride: WIDTH * 4 }];
    const attach = { buffer: 1, width: 160, height: 120, fourcc: XR24, planes };
    guest.send({ type: "attach", body: attach });
    guest.frame(3, 1, { configuration: 3 });
    await guest.next("packet", 3);
    expect(guest.all("packet").map(({ body }) => body.key)).toEqual([true, false, true]);
    expect(guest.all("configured").map(({ body }) => body.width)).toEqual([WIDTH, WIDTH, 160]);
    guest.frame(4, 1, { configuration: 2 });
    expect((await guest.next("error")).body.code).toBe(ErrorCode.UNKNOWN_CONFIGURATION);
  });

  it.each([
    ["a frame number that does not rise", () => [guest.frame(5, 0), guest.frame(5, 0)]],
    ["a buffer number beyond the limit", () => guest.attach(64, 1)],
    ["a serial that does not rise", () => [guest.configure(2), guest.configure(2)]],
    ["a message for guests", () => guest.send({ type: "packet", body: { frame: 1 } })],
  ])("ends the session at %s", async (_what, misbehave) => {
    await start();
    bench.resource(1, 0);
    misbehave();
    await until(() => guest.all("error").some(({ body }) => body.fatal), "a fatal error");
  });

  it("rejects resources of a guest on a link without a VM", async () => {
    await start("null", false);
    guest.hello();
    expect((await guest.next("welcome")).body.resources).toBe(false);
    guest.attach(0, 1);
    const { body } = await guest.next("error");
    expect(body.code).toBe(ErrorCode.NO_EXPORTER);
    expect(body.text).toContain("export");
  });

  it("survives the exporter, and finds it again", async () => {
    await start();
    bench.resource(1, 0);
    guest.attach(0, 1);
    await guest.next("attached");
    bench.closeExporter();
    await until(() => mappedRuns() === 0, "the end of the mapping");
    bench.resource(1);
    await guest.open();
    guest.attach(0, 1);
    await guest.next("attached");
  });
});
