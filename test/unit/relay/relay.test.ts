import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseConfiguration } from "../../../host/config.ts";
import { mappedRuns } from "../../../host/native/picture.ts";
import { Relay } from "../../../host/relay/relay.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { vsockenc } from "../../../proto/protobuf.ts";
import { MemfdExporter } from "../../support/memfd/memfd-exporter.ts";
import { HEIGHT, PICTURE_BYTES, RelayGuest, WIDTH, XR24 } from "../../support/relay-guest.ts";
import { until } from "../../support/until.ts";

const { ErrorCode, ErrorSubject } = vsockenc;

const silent = pino({ level: "silent" });
const newExporter = (path: string): MemfdExporter =>
  new MemfdExporter({ path, bytes: 8 * PICTURE_BYTES }, silent);

/** A relay with one VM: the test stands in for QEMU's chardev and for the guest, with a real exporter socket. */
class Bench {
  readonly folder = mkdtempSync(join(tmpdir(), "vsockenc-relay-"));
  readonly exporter: MemfdExporter;
  readonly #server: Server;
  #socket: Socket | undefined;
  #relay: Relay | undefined;
  guest: RelayGuest;

  constructor() {
    this.exporter = newExporter(join(this.folder, "export"));
    this.guest = new RelayGuest((bytes) => this.#socket?.write(bytes));
    this.#server = createServer((socket) => {
      this.#socket = socket;
      socket.on("data", (chunk) => this.guest.push(chunk));
      socket.on("error", () => undefined);
    }).listen(join(this.folder, "port"));
  }

  async start(encoder = "null", exported = true): Promise<void> {
    const exportLine = exported ? `export = "${join(this.folder, "export")}"` : "";
    const text = `status.enabled = false\nencoder.order = ["${encoder}"]\n[[vm]]\nname = "t"\nports = ["${join(this.folder, "port")}"]\n${exportLine}`;
    this.#relay = await Relay.start(parseConfiguration(text, "test"), silent);
    await until(() => this.guest.all("greeting").length > 0, "a greeting");
  }

  stop(): void {
    this.#relay?.stop();
    this.#server.close();
    this.#socket?.destroy();
    this.exporter.close();
    rmSync(this.folder, { recursive: true });
  }

  /** A resource of shuffled pages with one grey level. */
  addResource(id: number, grey: number): void {
    this.exporter.create(id, { width: WIDTH, height: HEIGHT, placement: "scattered" });
    this.exporter.write(id, Buffer.alloc(PICTURE_BYTES, grey));
  }
}

describe("Relay", () => {
  let bench: Bench;
  beforeEach(() => {
    bench = new Bench();
  });
  afterEach(() => bench.stop());

  it("encodes what the guest's resources hold, in order, and answers each frame twice", async () => {
    await bench.start("libx264");
    await bench.guest.open();
    for (const id of [1, 2, 3]) bench.addResource(id, id * 60);
    bench.guest.configure(1);
    for (const id of [1, 2, 3]) bench.guest.attach(id, id);
    for (let frame = 0; frame < 30; frame += 1) {
      bench.guest.frame(frame, 1 + (frame % 3), { forceKey: frame === 7 });
      await bench.guest.next("packet", frame + 1);
    }
    bench.guest.send({ type: "drain", body: { token: 5 } });
    await bench.guest.next("drained");
    const packets = bench.guest.all("packet");
    expect(packets.map(({ body }) => body.frame)).toEqual(Array.from({ length: 30 }, (_, n) => n));
    expect(packets.filter(({ body }) => body.key).map(({ body }) => body.frame)).toEqual([0, 7]);
    expect(bench.guest.all("frameDone").map(({ body }) => body.frame)).toEqual(
      packets.map(({ body }) => body.frame),
    );
    expect(bench.guest.all("attached")).toMatchObject(
      [1, 2, 3].map((buffer) => ({ body: { buffer, tier: 1 } })),
    );
    const sizes = packets.reduce((sum, { body }) => sum + body.size, 0);
    expect(bench.guest.all("data").reduce((sum, { bytes }) => sum + bytes.length, 0)).toBe(sizes);
    expect(bench.guest.all("error")).toEqual([]);
  });

  it("offers its encoders and limits", async () => {
    await bench.start("libx264");
    await bench.guest.open();
    expect(bench.guest.all("welcome").at(-1)?.body).toMatchObject({
      maxInFlight: LIMITS.MAX_IN_FLIGHT_FRAMES,
      maxAttached: LIMITS.MAX_ATTACHED_BUFFERS,
      encoders: [{ name: "libx264", codec: vsockenc.Codec.H264, profiles: [1, 2, 3] }],
    });
  });

  it("says what is in force, also after a change, and keeps it when a change is refused", async () => {
    await bench.start("libx264");
    await bench.guest.open();
    bench.addResource(1, 50);
    bench.guest.attach(0, 1);
    bench.guest.configure(1, { bitrateKbps: 0, levels: [40], profile: vsockenc.Profile.H264_MAIN });
    bench.guest.configure(2, { bitrateKbps: 700, levels: [40], profile: vsockenc.Profile.H264_MAIN });
    bench.guest.configure(3, { levels: [10] });
    const { body } = await bench.guest.next("error");
    expect(body).toMatchObject({
      ...{ code: ErrorCode.ENCODER_UNAVAILABLE, subject: ErrorSubject.CONFIGURATION, id: 3, fatal: false },
      text: expect.stringMatching(/the stream needs H.264 level 2, levels allows 1: /),
    });
    expect(bench.guest.all("configured").map((message) => message.body)).toMatchObject([
      { serial: 1, bitrateKbps: 300, keyframeInterval: 60 },
      { serial: 2, bitrateKbps: 700, keyframeInterval: 60 },
    ]);
    bench.guest.frame(1, 0, { configuration: 2 });
    expect((await bench.guest.next("packet")).body.key).toBe(true);
  });

  it("refuses a resource that does not exist, and the frames that would have used it", async () => {
    await bench.start();
    await bench.guest.open();
    bench.guest.configure(1);
    bench.guest.attach(0, 99);
    bench.guest.frame(1, 0);
    expect((await bench.guest.next("error", 1)).body).toMatchObject({
      code: ErrorCode.NO_SUCH_RESOURCE,
      subject: ErrorSubject.BUFFER,
      fatal: false,
    });
    expect((await bench.guest.next("error", 2)).body).toMatchObject({
      code: ErrorCode.UNKNOWN_BUFFER,
      subject: ErrorSubject.FRAME_NUMBER,
      id: 1,
    });
    expect(bench.guest.all("frameDone").length).toBe(1);
  });

  it("refuses a layout outside its resource and names the bytes", async () => {
    await bench.start();
    await bench.guest.open();
    bench.addResource(1, 0);
    bench.guest.attach(0, 1, WIDTH * 8);
    const { body } = await bench.guest.next("error");
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
    await bench.start();
    await bench.guest.open();
    const body = { serial: 1, codec: vsockenc.Codec.H264, width: WIDTH, height: HEIGHT };
    bench.guest.send({
      type: "configure",
      body: { ...body, framerateNumerator: 30, framerateDenominator: 1, ...change },
    });
    const answer = await bench.guest.next("error");
    expect(answer.body).toMatchObject({ subject: ErrorSubject.CONFIGURATION, id: 1, fatal: false });
    expect(answer.body.text).toContain(field);
  });

  it("lets a revoked resource go, and refuses its buffer from then on", async () => {
    await bench.start();
    await bench.guest.open();
    bench.addResource(1, 10);
    bench.guest.configure(1);
    bench.guest.attach(0, 1);
    await bench.guest.next("attached");
    expect(mappedRuns()).toBeGreaterThan(0);
    await bench.exporter.free(1);
    await until(() => bench.exporter.held === 0, "the release");
    expect(mappedRuns()).toBe(0);
    bench.guest.frame(1, 0);
    expect((await bench.guest.next("error")).body.code).toBe(ErrorCode.NO_SUCH_RESOURCE);
    bench.guest.send({ type: "detach", body: { buffer: 0 } });
    bench.addResource(1, 20);
    bench.guest.attach(0, 1);
    bench.guest.frame(2, 0);
    await bench.guest.next("packet");
  });

  it("unmaps and releases everything when the session ends", async () => {
    await bench.start();
    await bench.guest.open();
    for (const id of [1, 2]) {
      bench.addResource(id, 0);
      bench.guest.attach(id, id);
    }
    await bench.guest.next("attached", 2);
    bench.guest.send({ type: "bye", body: {} });
    await until(() => bench.exporter.held === 0, "the releases");
    expect(mappedRuns()).toBe(0);
  });

  it("changes the bit rate in mid-stream without a key frame, and the size with one", async () => {
    await bench.start("libx264");
    await bench.guest.open();
    bench.addResource(1, 50);
    bench.guest.configure(1);
    bench.guest.attach(0, 1);
    bench.guest.frame(1, 0);
    bench.guest.configure(2, { bitrateKbps: 500 });
    bench.guest.frame(2, 0, { configuration: 2 });
    bench.guest.configure(3, { width: 160, height: 120 });
    const planes = [{ resource: 1, stride: WIDTH * 4 }];
    const attach = { buffer: 1, width: 160, height: 120, fourcc: XR24, planes };
    bench.guest.send({ type: "attach", body: attach });
    bench.guest.frame(3, 1, { configuration: 3 });
    await bench.guest.next("packet", 3);
    expect(bench.guest.all("packet").map(({ body }) => body.key)).toEqual([true, false, true]);
    expect(bench.guest.all("configured").map(({ body }) => body.width)).toEqual([WIDTH, WIDTH, 160]);
    bench.guest.frame(4, 1, { configuration: 2 });
    expect((await bench.guest.next("error")).body.code).toBe(ErrorCode.UNKNOWN_CONFIGURATION);
  });

  it.each([
    ["a frame number that does not rise", (b: Bench) => [b.guest.frame(5, 0), b.guest.frame(5, 0)]],
    ["a buffer number beyond the limit", (b: Bench) => b.guest.attach(64, 1)],
    ["a serial that does not rise", (b: Bench) => [b.guest.configure(2), b.guest.configure(2)]],
    ["a message for guests", (b: Bench) => b.guest.send({ type: "packet", body: { frame: 1 } })],
  ])("ends the session at %s", async (_what, misbehave) => {
    await bench.start();
    await bench.guest.open();
    bench.addResource(1, 0);
    misbehave(bench);
    await until(() => bench.guest.all("error").some(({ body }) => body.fatal), "a fatal error");
  });

  it("rejects resources of a guest on a link without a VM", async () => {
    await bench.start("null", false);
    bench.guest.hello();
    expect((await bench.guest.next("welcome")).body.resources).toBe(false);
    bench.guest.attach(0, 1);
    const { body } = await bench.guest.next("error");
    expect(body.code).toBe(ErrorCode.NO_EXPORTER);
    expect(body.text).toContain("export");
  });

  it("survives the exporter, and finds it again", async () => {
    await bench.start();
    await bench.guest.open();
    bench.addResource(1, 0);
    bench.guest.attach(0, 1);
    await bench.guest.next("attached");
    const path = join(bench.folder, "export");
    bench.exporter.close();
    await until(() => mappedRuns() === 0, "the end of the mapping");
    const again = newExporter(path);
    try {
      again.create(1, { width: WIDTH, height: HEIGHT });
      await bench.guest.open();
      bench.guest.attach(0, 1);
      await bench.guest.next("attached");
    } finally {
      again.close();
    }
  });
});
