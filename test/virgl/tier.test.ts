/** The relay's tier resource-read, with the exporter that runs inside QEMU: what is painted is what is encoded. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { mappedRuns, Picture } from "../../host/native/picture.ts";
import { fourcc } from "../../proto/formats.ts";
import { vsockenc } from "../../proto/protobuf.ts";
import { decodeGray } from "../support/ffmpeg.ts";
import { BUILD_HANG_MS } from "../support/hang.ts";
import { relayBench } from "../support/relay-bench.ts";
import { type ConnectedGuest, HEIGHT, WIDTH } from "../support/relay-guest.ts";
import { until } from "../support/until.ts";
import { painted } from "./picture.ts";
import { compileVirglHost, VirglHost } from "./program.ts";

const { Content, ErrorCode, ErrorSubject, SourceTier } = vsockenc;
/** VIRGL_FORMAT_* */
const BGRA = 1;
const R8 = 64;
const R8G8 = 65;
const AR24 = fourcc("AR24");
const NV12 = fourcc("NV12");

const bench = relayBench();
let programs: string;
let host: VirglHost;
let guest: ConnectedGuest;

beforeAll(() => {
  programs = compileVirglHost();
}, BUILD_HANG_MS);
beforeEach(async () => {
  host = await startHost();
  const vm = `[[vm]]\nname = "a"\nexport = "${bench.path("v")}"\n`;
  const listen = `[[listen]]\naddress = "unix:${bench.path("l")}"\nvm = "a"`;
  await bench.start(vm + listen, { encoder: "libx264" });
  guest = await bench.opened();
});
afterEach(async () => {
  await host.kill();
});

const startHost = (): Promise<VirglHost> =>
  VirglHost.start(programs, { loading: "preload", api: "gl", socket: bench.path("v") });

function attach(buffer: number, change: Partial<vsockenc.Attach.$Properties> = {}): void {
  const planes = [{ resource: buffer, stride: WIDTH * 4 }];
  const layout = { width: WIDTH, height: HEIGHT, fourcc: AR24, planes, content: Content.RENDERED };
  guest.send({ type: "attach", body: { buffer, ...layout, ...change } as Partial<vsockenc.Attach> });
}

/** Makes a texture of the stream's size and attaches it. */
async function attachTexture(id: number): Promise<void> {
  await host.commands(`texture ${id} ${WIDTH} ${HEIGHT} ${BGRA}`, `paint ${id} 0`);
  attach(id);
  expect((await guest.next("attached")).body).toMatchObject({ tier: SourceTier.RESOURCE_READ, runs: 1 });
}

/** The encoded pictures' brightness where red and blue are the seed, and green is none. */
function brightness(): number[] {
  const file = join(bench.folder, "stream.h264");
  writeFileSync(file, Buffer.concat(guest.all("data").map(({ bytes }) => bytes)));
  return decodeGray(file, WIDTH, HEIGHT).map((frame) => frame[8 * WIDTH + 8] ?? -1);
}

describe("tier resource-read", () => {
  it("encodes what was drawn before each frame, though the next is drawn at once", async () => {
    guest.configure(1);
    await attachTexture(1);
    const mapped: number[] = [];
    for (let frame = 1; frame <= 12; frame++) {
      await host.command(`paint 1 ${frame * 20}`);
      guest.frame(frame, 1);
      await guest.next("frameDone", frame);
      mapped.push(mappedRuns());
    }
    await guest.next("packet", 12);
    guest.send({ type: "drain", body: { token: 1 } });
    await guest.next("drained");
    const found = brightness();
    expect(found).toHaveLength(12);
    for (let at = 1; at < 12; at++) expect((found[at] ?? 0) - (found[at - 1] ?? 0)).toBeGreaterThan(2);
    expect(guest.all("error")).toEqual([]);
    expect(guest.all("packet").every(({ body }) => body.readUs > 0)).toBe(true);
    // Three sets of one slot, each mapped once.
    expect(Math.max(...mapped) - (mapped[0] ?? 0)).toBeLessThanOrEqual(2);
  });

  it("maps nothing more for further buffers of the same layout", async () => {
    const map = vi.spyOn(Picture, "map");
    guest.configure(1);
    for (const id of [1, 2, 3, 4, 5]) await attachTexture(id);
    for (let frame = 1; frame <= 15; frame++) {
      guest.frame(frame, 1 + (frame % 5));
      await guest.next("packet", frame);
    }
    expect(map.mock.calls.length).toBeLessThanOrEqual(3);
    map.mockRestore();
  });

  it("returns the very bytes", async () => {
    await attachTexture(1);
    await host.command("paint 1 77");
    guest.send({ type: "probe", body: { buffer: 1 } });
    const crc = crc32(painted(WIDTH, HEIGHT, BGRA, 77));
    expect((await guest.next("probed")).body).toMatchObject({ crc, bytes: WIDTH * HEIGHT * 4 });
  });

  it("takes all planes of NV12 from one texture, and from two", async () => {
    await host.commands(
      `texture 1 ${WIDTH} ${HEIGHT * 1.5} ${R8}`,
      `texture 2 ${WIDTH} ${HEIGHT} ${R8}`,
      `texture 3 ${WIDTH / 2} ${HEIGHT / 2} ${R8G8}`,
      ...["paint 1 9", "paint 2 7", "paint 3 8"],
    );
    // The guest's driver pads its rows.
    const stride = WIDTH + 64;
    attach(1, {
      fourcc: NV12,
      planes: [
        { resource: 1, stride },
        { resource: 1, stride, offset: stride * HEIGHT },
      ],
    });
    attach(2, {
      fourcc: NV12,
      planes: [
        { resource: 2, stride },
        { resource: 3, stride },
      ],
    });
    for (const buffer of [1, 2]) guest.send({ type: "probe", body: { buffer } });
    await guest.next("probed", 2);
    const two = [painted(WIDTH, HEIGHT, R8, 7), painted(WIDTH / 2, HEIGHT / 2, R8G8, 8)];
    expect(guest.all("probed").map(({ body }) => body.crc)).toEqual([
      crc32(painted(WIDTH, HEIGHT * 1.5, R8, 9)),
      crc32(Buffer.concat(two)),
    ]);
  });

  it.each([
    ["another size", { width: WIDTH - 16 }, "is a texture of 320x240"],
    ["another order of colours", { fourcc: fourcc("AB24") }, "does not hold plane 0 of 320x240 RGBA"],
    ["another format", { fourcc: NV12 }, "does not hold plane 0"],
  ])("refuses a picture of %s than the texture's", async (_what, change, text) => {
    await host.command(`texture 1 ${WIDTH} ${HEIGHT} ${BGRA}`);
    const planes = [
      { resource: 1, stride: WIDTH * 4 },
      { resource: 1, stride: WIDTH * 4, offset: WIDTH * 4 * 16 },
    ];
    attach(1, { ...change, planes: planes.slice(0, "fourcc" in change && change.fourcc === NV12 ? 2 : 1) });
    const { body } = await guest.next("error");
    expect(body).toMatchObject({ code: ErrorCode.INVALID_VALUE, fatal: false });
    expect(body.text).toContain(text);
  });

  it("refuses pages that the texture does not have, instead of showing black", async () => {
    await host.command(`texture 1 ${WIDTH} ${HEIGHT} ${BGRA}`);
    attach(1, { content: Content.PAGES });
    expect((await guest.next("error")).body.text).toContain("RESOURCE_WITHOUT_BACKING");
  });

  it("makes late frames of slow draws, and loses none", async () => {
    guest.configure(1);
    await attachTexture(1);
    await host.command(`texture 9 1024 1024 ${BGRA}`);
    for (let frame = 1; frame <= 3; frame++) {
      await host.commands("busy 9 20", `paint 1 ${frame * 60}`);
      guest.frame(frame, 1);
      await guest.next("packet", frame);
    }
    guest.send({ type: "drain", body: { token: 1 } });
    await guest.next("drained");
    expect(guest.all("dropped")).toEqual([]);
    const found = brightness();
    expect(found).toEqual([...found].sort((a, b) => a - b));
    expect(new Set(found).size).toBe(3);
  });

  it.each(["unref 1", "reset"])("answers frames after %s, and goes on with a new resource", async (end) => {
    guest.configure(1);
    await attachTexture(1);
    await host.commands(`texture 9 1024 1024 ${BGRA}`, "busy 9 20");
    guest.frame(1, 1);
    await host.command(end);
    guest.frame(2, 1);
    const error = await guest.next("error");
    expect(error.body).toMatchObject({
      code: ErrorCode.NO_SUCH_RESOURCE,
      subject: ErrorSubject.FRAME_NUMBER,
    });
    await guest.next("frameDone", 2);
    guest.send({ type: "detach", body: { buffer: 1 } });
    await attachTexture(1);
    guest.frame(3, 1, { forceKey: true });
    await until(() => guest.all("packet").some(({ body }) => body.frame === 3), "the packet of frame 3");
  });

  it("goes on when QEMU has started again", async () => {
    guest.configure(1);
    await attachTexture(1);
    guest.frame(1, 1);
    await guest.next("packet");
    await host.kill();
    guest.frame(2, 1);
    expect((await guest.next("error")).body.subject).toBe(ErrorSubject.FRAME_NUMBER);
    guest.send({ type: "detach", body: { buffer: 1 } });
    host = await startHost();
    await guest.open();
    guest.configure(1);
    await attachTexture(1);
    guest.frame(1, 1);
    await guest.next("packet");
  });
});
