/**
 * Every way by which pixels reach the host, in real guests with the real relay: what was drawn is compared with what
 * comes out of the decoder, by the counter in each frame and by PSNR as RGB.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../common/package-root.ts";
import { PIXEL_FORMATS } from "../../proto/formats.ts";
import { readCounters } from "../support/counter.ts";
import { decodeGray, psnr } from "../support/ffmpeg.ts";
import { Vm, type VmOptions } from "../vm/vm.ts";

const SIZE = { width: 640, height: 360 };
const FRAMES = 12;
/** Well below what the bit rate gives, well above any mistake of channels, planes, strides or matrix. */
const MIN_PSNR_DB = 30;

interface Stats {
  readonly tier: string;
  readonly warnings: number;
  readonly "frames-copied": number;
  readonly "frames-inline": number;
  readonly "pixel-bytes-sent": number;
}

interface Run {
  readonly allocator: "dumb" | "resource" | "udmabuf" | "system";
  readonly format?: string;
  readonly planes?: "together" | "separate";
  readonly drmCaps?: true;
}

/** A guest, and what dmabufsrc does in it. */
class Guest {
  readonly #folder = mkdtempSync(join(tmpdir(), "vsockenc-tiers-"));
  #vm: Vm | undefined;

  async boot(options: VmOptions): Promise<void> {
    this.#vm = await Vm.boot({ ...options, outDir: this.#folder });
  }

  async shutdown(): Promise<void> {
    await this.#vm?.shutdown();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Encodes the pattern, checks every frame of the result, and gives the element's statistics. */
  async encode({ allocator, format = "BGRx", planes = "together", drmCaps }: Run): Promise<Stats> {
    const stream = join(this.#folder, "a.h264");
    const command =
      `dmabufsrc --allocator ${allocator} --format ${format} --planes ${planes} ${drmCaps ? "--drm-caps" : ""} ` +
      `--frames ${FRAMES} --buffers 4 --width ${SIZE.width} --height ${SIZE.height} --stats-json /out/a.json ` +
      "--pipeline 'vsockenc bitrate=20000 ! h264parse ! filesink location=/out/a.h264'";
    await this.#succeed(command);
    const counters = readCounters(decodeGray(stream, SIZE.width, SIZE.height), SIZE.width);
    expect(counters).toEqual(Array.from({ length: FRAMES }, (_, n) => n));
    const quality = await psnr(stream, reference(), SIZE, "bgr0");
    expect(quality.minimum).toBeGreaterThan(MIN_PSNR_DB);
    return JSON.parse(readFileSync(join(this.#folder, "a.json"), "utf8")) as Stats;
  }

  /** What vsockenc-probe found. */
  async probe(options = ""): Promise<{ readonly crc_guest: string; readonly crc_host: string }> {
    return JSON.parse(await this.#succeed(`vsockenc-probe ${options}`));
  }

  async #succeed(command: string): Promise<string> {
    const result = await this.#vm?.run(command);
    expect(result, command).toMatchObject({ status: 0 });
    return result?.stdout ?? "";
  }
}

/** The same frames drawn on the host; in RGB, whatever the guest made of them. */
function reference(): Readable {
  const program = join(packageRoot, "build", "element", "test", "guest", "pattern");
  const args = ["--frames", FRAMES, "--width", SIZE.width, "--height", SIZE.height, "--format", "BGRx"];
  return spawn(program, args.map(String), { stdio: ["ignore", "pipe", "inherit"] }).stdout;
}

const names = PIXEL_FORMATS.map(({ name }) => name);
const planar = PIXEL_FORMATS.filter(({ planes }) => planes.length > 1).map(({ name }) => name);

describe("a guest with our GPU", () => {
  const guest = new Guest();
  beforeAll(() => guest.boot({ gpu: "vsockenc" }));
  afterAll(() => guest.shutdown());

  it("proves the way of a resource before any encoder", async () => {
    const probe = await guest.probe();
    expect(probe).toMatchObject({ ok: true, tier: "resource", crc_host: probe.crc_guest, error: null });
  });

  it.each(names)("reads %s in place from DmaBufs", async (format) => {
    const stats = await guest.encode({ allocator: "resource", format });
    expect(stats).toMatchObject({ tier: "resource", warnings: 0, "frames-copied": 0, "frames-inline": 0 });
  });

  it.each(planar)("reads %s in place with each plane in a resource of its own", async (format) => {
    const stats = await guest.encode({ allocator: "resource", format, planes: "separate" });
    expect(stats).toMatchObject({ tier: "resource", "frames-copied": 0, "frames-inline": 0 });
  });

  it.each(["BGRx", "NV12"])("takes %s as DMA_DRM", async (format) => {
    const stats = await guest.encode({ allocator: "resource", format, drmCaps: true });
    expect(stats).toMatchObject({ tier: "resource", "frames-copied": 0 });
  });

  it.each([
    "BGRx",
    ...planar,
  ])("copies %s of an upstream with memory of its own, and warns", async (format) => {
    const stats = await guest.encode({ allocator: "system", format });
    expect(stats).toMatchObject({ tier: "resource-copy", warnings: 1, "frames-copied": FRAMES });
  });

  it("copies DmaBufs that are not the GPU's", async () => {
    const stats = await guest.encode({ allocator: "udmabuf" });
    expect(stats).toMatchObject({ tier: "resource-copy", warnings: 1, "frames-copied": FRAMES });
  });
});

describe("a guest whose host may map nothing", () => {
  const guest = new Guest();
  const folder = mkdtempSync(join(tmpdir(), "vsockenc-gather-"));
  beforeAll(() => {
    const relayConfig = join(folder, "relay.toml");
    writeFileSync(relayConfig, "[pictures]\nmax_runs = 0\n");
    return guest.boot({ gpu: "vsockenc", relayConfig });
  });
  afterAll(async () => {
    await guest.shutdown();
    rmSync(folder, { recursive: true });
  });

  it("proves the way of gathered pixels", async () => {
    const probe = await guest.probe();
    expect(probe).toMatchObject({
      ok: true,
      tier: "resource-gather",
      crc_host: probe.crc_guest,
      error: null,
    });
  });

  it.each(["BGRx", ...planar])("has %s copied together for each frame", async (format) => {
    const stats = await guest.encode({ allocator: "resource", format });
    expect(stats).toMatchObject({
      tier: "resource-gather",
      warnings: 0,
      "frames-copied": 0,
      "frames-inline": 0,
    });
  });
});

describe("a guest without a GPU", () => {
  const guest = new Guest();
  beforeAll(() => guest.boot({ gpu: "none" }));
  afterAll(() => guest.shutdown());

  it("proves the way of inline pixels", async () => {
    const probe = await guest.probe("--inline");
    expect(probe).toMatchObject({ ok: true, tier: "inline", crc_host: probe.crc_guest, error: null });
  });

  it.each(["BGRx", ...planar])("sends the pixels of %s over the port, and warns", async (format) => {
    const bytes = SIZE.width * SIZE.height * (format === "BGRx" ? 4 : 1.5);
    const stats = await guest.encode({ allocator: "system", format });
    expect(stats).toMatchObject({
      tier: "inline",
      warnings: 1,
      "frames-inline": FRAMES,
      "pixel-bytes-sent": FRAMES * bytes,
    });
  });

  it("sends the pixels of DmaBufs", async () => {
    const stats = await guest.encode({ allocator: "udmabuf" });
    expect(stats).toMatchObject({ tier: "inline", warnings: 1, "frames-inline": FRAMES });
  });
});
