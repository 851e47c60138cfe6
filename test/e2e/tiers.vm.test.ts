/**
 * Every source tier in real guests with the real relay: decoded pictures are compared with the drawn ones, by the counter
 * in each frame and by PSNR as RGB.
 */
import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../common/package-root.ts";
import { PIXEL_FORMATS } from "../../proto/formats.ts";
import { countersOf, dmabufsrc, upTo } from "../support/counter.ts";
import { psnr } from "../support/ffmpeg.ts";
import { temporaryFolder } from "../support/folder.ts";
import { Vm, type VmOptions } from "../vm/vm.ts";

const SIZE = { width: 640, height: 360 };
const FRAMES = 12;
/** Below the bit rate's quality, above that of wrong channels, planes, strides or matrices. */
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

/** A guest with dmabufsrc. */
class Guest {
  readonly #folder = temporaryFolder();
  #vm: Vm | undefined;

  async boot(options: VmOptions): Promise<void> {
    this.#vm = await Vm.boot({ ...options, outDir: this.#folder });
  }

  async shutdown(): Promise<void> {
    await this.#vm?.shutdown();
  }

  /** Encodes the pattern, checks every frame of the result, and gives the element's statistics. */
  async encode({ allocator, format = "BGRx", planes = "together", drmCaps }: Run): Promise<Stats> {
    const stream = join(this.#folder, "a.h264");
    const options =
      `--allocator ${allocator} --format ${format} --planes ${planes} ${drmCaps ? "--drm-caps" : ""} ` +
      "--buffers 4 --stats-json /out/a.json";
    const pipeline = "vsockenc bitrate=20000 ! h264parse ! filesink location=/out/a.h264";
    await this.#succeed(dmabufsrc(SIZE, FRAMES, pipeline, options));
    expect(countersOf(stream, SIZE)).toEqual(upTo(FRAMES));
    const quality = await psnr(stream, reference(), SIZE, "bgr0");
    expect(quality.minimum).toBeGreaterThan(MIN_PSNR_DB);
    return JSON.parse(readFileSync(join(this.#folder, "a.json"), "utf8")) as Stats;
  }

  /** The report of vsockenc-probe. */
  async probe(options = ""): Promise<{ readonly crc_guest: string; readonly crc_host: string }> {
    return JSON.parse(await this.#succeed(`vsockenc-probe ${options}`));
  }

  async #succeed(command: string): Promise<string> {
    return (await this.#vm?.succeed(command)) ?? "";
  }
}

/** The same frames drawn on the host, as RGB. */
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

  it("verifies the path of a resource with vsockenc-probe", async () => {
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

describe("a guest whose host maps no runs", () => {
  const guest = new Guest();
  const folder = temporaryFolder();
  beforeAll(() => {
    const relayConfig = join(folder, "relay.toml");
    writeFileSync(relayConfig, "[pictures]\nmax_runs = 0\n");
    return guest.boot({ gpu: "vsockenc", relayConfig });
  });
  afterAll(() => guest.shutdown());

  it("verifies the path of gathered pixels with vsockenc-probe", async () => {
    const probe = await guest.probe();
    expect(probe).toMatchObject({
      ok: true,
      tier: "resource-gather",
      crc_host: probe.crc_guest,
      error: null,
    });
  });

  it.each(["BGRx", ...planar])("gathers %s for each frame", async (format) => {
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

  it("verifies the path of inline pixels with vsockenc-probe", async () => {
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
