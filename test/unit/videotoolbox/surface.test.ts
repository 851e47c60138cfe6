/**
 * Pictures in IOSurfaces: an exporter that serves surfaces, the relay that reads them, and either kind of encoder. The
 * shim's surfaces live within one process, so exporter and relay share it; the socket between them is real.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseConfiguration } from "../../../host/config.ts";
import { ExportServer } from "../../../host/export/server.ts";
import type { ExportableResource, ExportSource } from "../../../host/export/source.ts";
import { Relay } from "../../../host/relay/relay.ts";
import { VIRTIO_BGRX } from "../../../proto/formats.ts";
import { vsockenc } from "../../../proto/protobuf.ts";
import { ConnectedGuest, HEIGHT, WIDTH } from "../../support/relay-guest.ts";
import { until } from "../../support/until.ts";
import { decode } from "../encoders/support/decode.ts";
import { placement } from "../encoders/support/encode.ts";
import { drawPattern, pack, psnr } from "../encoders/support/pattern.ts";
import { probing } from "./support/probing.ts";
import { shim } from "./support/shim.ts";

const { ErrorCode } = vsockenc;
const RESOURCE = 7;
const LEAST_QUALITY = 30;
const silent = pino({ level: "silent" });

/** A relay, its guest, and the exporter of one VM whose resources are surfaces. */
class Bench {
  readonly folder = mkdtempSync(join(tmpdir(), "vsockenc-surface-"));
  readonly #resources = new Map<number, ExportableResource>();
  readonly server: ExportServer;
  readonly #surfaces: number[] = [];
  #relay: Relay | undefined;
  #guest: ConnectedGuest | undefined;

  constructor() {
    const source: ExportSource = {
      software: "test surfaces",
      lookUp: (id) => {
        const resource = this.#resources.get(id);
        if (resource !== undefined) return { kind: "found", resource };
        return { kind: "refused", refusal: { code: "RESOURCE_UNKNOWN", text: `there is no ${id}` } };
      },
      memory: () => undefined,
      scanouts: () => [],
      whenSettled: (listener) => listener(),
    };
    this.server = new ExportServer({ path: join(this.folder, "export"), users: [] }, source, silent);
  }

  async start(encoder: string): Promise<ConnectedGuest> {
    const socket = join(this.folder, "guest");
    const text = [
      `status.enabled = false\nencoder.order = ["${encoder}"]`,
      `[[vm]]\nname = "t"\nexport = "${join(this.folder, "export")}"`,
      `[[listen]]\naddress = "unix:${socket}"\nvm = "t"`,
    ].join("\n");
    this.#relay = await probing("", () => Relay.start(parseConfiguration(text, "test"), silent));
    this.#guest = new ConnectedGuest(socket);
    await this.#guest.open();
    return this.#guest;
  }

  /** Makes a surface and the resource that is in it; gives the surface's number. */
  add(options: { width?: number; height?: number; format?: string; global?: boolean } = {}): number {
    const { width = WIDTH, height = HEIGHT, format = "BGRA", global = true } = options;
    const surface = shim.createSurface({ width, height, format, global });
    this.#surfaces.push(surface);
    this.serve(surface, { width, height });
    return surface;
  }

  /** @param id its generation, too */
  serve(surface: number, size: { width: number; height: number }, id = RESOURCE): void {
    const backing = { generation: id, extents: [], surface };
    this.#resources.set(id, { ...size, format: VIRTIO_BGRX, backing });
  }

  stop(): void {
    this.#relay?.stop();
    this.#guest?.socket.destroy();
    this.server.close();
    for (const surface of this.#surfaces) shim.releaseSurface(surface);
    rmSync(this.folder, { recursive: true });
  }
}

let bench: Bench;
let liveBefore: number;
beforeEach(() => {
  shim.setScript("");
  liveBefore = shim.liveObjects();
  bench = new Bench();
});
afterEach(async () => {
  bench.stop();
  await until(() => shim.liveObjects() === liveBefore, "the release of all CoreFoundation objects");
});

const image = (frame: number): ReturnType<typeof drawPattern> => drawPattern(WIDTH, HEIGHT, frame);

/** Draws into the surface and has the guest send frames of it, one at a time; they must show the images from 0 on. */
async function encode(guest: ConnectedGuest, surface: number, drawn: readonly Buffer[]): Promise<void> {
  for (const [frame, bytes] of drawn.entries()) {
    shim.drawSurface(surface, bytes);
    guest.frame(frame, 1);
    await guest.next("packet", frame + 1);
  }
  guest.send({ type: "drain", body: { token: 1 } });
  await guest.next("drained");
  const stream = Buffer.concat(guest.all("data").map(({ bytes }) => bytes));
  const images = decode(stream, WIDTH, HEIGHT);
  expect(images).toHaveLength(drawn.length);
  images.forEach((decoded, frame) => {
    expect(psnr(image(frame), decoded)).toBeGreaterThan(LEAST_QUALITY);
  });
}

/** A guest whose buffer 1 is in a surface. */
async function attached(encoder = "videotoolbox"): Promise<{ guest: ConnectedGuest; surface: number }> {
  const guest = await bench.start(encoder);
  const surface = bench.add();
  await attach(guest);
  await guest.next("attached");
  return { guest, surface };
}

async function attach(guest: ConnectedGuest, change: Partial<vsockenc.Attach> = {}): Promise<void> {
  guest.configure(1, { bitrateKbps: 4000 });
  await guest.next("configured");
  const planes = [{ resource: RESOURCE, stride: WIDTH * 4 }];
  const body = { buffer: 1, width: WIDTH, height: HEIGHT, fourcc: 0x34325258, planes, ...change };
  guest.send({ type: "attach", body });
}

describe("a resource in an IOSurface", () => {
  it.each(["videotoolbox", "libx264"])("is encoded by %s with the drawn picture", async (encoder) => {
    const { guest, surface } = await attached(encoder);
    expect(shim.useCount(surface)).toBe(1);
    const place = placement({ width: WIDTH, height: HEIGHT });
    await encode(
      guest,
      surface,
      Array.from({ length: 10 }, (_, frame) => pack(image(frame), place)),
    );
    // VideoToolbox reads the surface; for another encoder its rows, which are padded, are copied.
    expect(shim.bytesPerRow(surface)).toBeGreaterThan(WIDTH * 4);
    expect(shim.counters()).toMatchObject({ transfers: encoder === "videotoolbox" ? 10 : 0 });
  });

  it("is in use until the guest detaches it", async () => {
    const { guest, surface } = await attached();
    expect(bench.server.held).toBe(1);
    guest.send({ type: "detach", body: { buffer: 1 } });
    await until(() => bench.server.held === 0, "the Release");
    expect(shim.useCount(surface)).toBe(0);
  });

  it("is released when the guest frees it, and later frames are rejected", async () => {
    const { guest, surface } = await attached();
    bench.server.revoke(RESOURCE, { generation: RESOURCE }); // The guest frees it.
    await until(() => bench.server.held === 0, "the Release");
    expect(shim.useCount(surface)).toBe(0);
    guest.frame(0, 1);
    expect((await guest.next("error")).body.code).toBe(ErrorCode.NO_SUCH_RESOURCE);
  });

  it("can be encoded in part", async () => {
    const guest = await bench.start("videotoolbox");
    const whole = { width: WIDTH + 64, height: HEIGHT + 32 };
    const surface = bench.add(whole);
    const planes = [{ resource: RESOURCE, stride: whole.width * 4 }];
    const visible = { x: 48, y: 16, width: WIDTH, height: HEIGHT };
    await attach(guest, { ...whole, planes, visible: new vsockenc.Rectangle(visible) });
    await guest.next("attached");
    await encode(guest, surface, [pack(image(0), placement(whole, { x: 48, y: 16 }))]);
  });

  it.each([
    ["another size", { width: WIDTH + 16 }, /320x240 BGRx, IOSurface \d+ is 336x240 BGRA/, "INVALID_VALUE"],
    [
      "another order of bytes",
      { format: "RGBA" },
      /320x240 BGRx, IOSurface \d+ is 320x240 RGBA/,
      "INVALID_VALUE",
    ],
    ["unsupported pixels", { format: "w30r" }, /has pixels of type w30r/, "UNSUPPORTED_FORMAT"],
    ["no other process", { global: false }, /cannot be found: .*kIOSurfaceIsGlobal/, "LIMIT_EXCEEDED"],
  ] as const)("of %s is rejected and released", async (_what, options, text, code) => {
    const guest = await bench.start("videotoolbox");
    bench.add(options);
    await attach(guest);
    const { body } = await guest.next("error");
    expect(body.text).toMatch(text);
    expect(body.code).toBe(ErrorCode[code]);
    await until(() => bench.server.held === 0, "the Release");
  });

  it("is rejected beside a plane in other memory", async () => {
    const guest = await bench.start("videotoolbox");
    bench.serve(bench.add(), { width: WIDTH, height: HEIGHT }, RESOURCE + 1);
    const planes = [RESOURCE, RESOURCE + 1].map((resource) => ({ resource, stride: WIDTH }));
    await attach(guest, { fourcc: 0x3231564e, planes });
    const { body } = await guest.next("error");
    expect(body.code).toBe(ErrorCode.INVALID_VALUE);
    expect(body.text).toMatch(/a plane is in IOSurface \d+, another one elsewhere/);
    await until(() => bench.server.held === 0, "the Release");
  });
});
