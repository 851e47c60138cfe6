/**
 * Every source tier in real guests with the real relay: decoded pictures are compared with the drawn ones, by the counter
 * in each frame and by PSNR as RGB.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { PIXEL_FORMATS } from "../../proto/formats.ts";
import { buildElement, expectPattern } from "../element/support/programs.ts";
import { countersOf, dmabufsrc, upTo } from "../support/counter.ts";
import { temporaryFolder } from "../support/folder.ts";
import { useVm } from "../vm/use-vm.ts";
import type { VmOptions } from "../vm/vm.ts";

const SIZE = { width: 640, height: 360 };
const FRAMES = 12;

beforeAll(() => buildElement("pattern"));

interface Run {
  readonly allocator: "dumb" | "resource" | "udmabuf" | "system";
  readonly format?: string;
  readonly planes?: "together" | "separate";
  readonly drmCaps?: true;
}

/** A guest with dmabufsrc, for a describe block. */
class Guest {
  readonly #folder = temporaryFolder();
  readonly #guest: ReturnType<typeof useVm>;

  constructor(options: VmOptions) {
    this.#guest = useVm({ ...options, outDir: this.#folder });
  }

  /** Encodes the pattern, checks every frame of the result, and gives the element's statistics. */
  async encode({ allocator, format = "BGRx", planes = "together", drmCaps }: Run): Promise<unknown> {
    const stream = join(this.#folder, "a.h264");
    const options =
      `--allocator ${allocator} --format ${format} --planes ${planes} ${drmCaps ? "--drm-caps" : ""} ` +
      "--buffers 4 --stats-json /out/a.json";
    const pipeline = "vsockenc bitrate=20000 ! h264parse ! filesink location=/out/a.h264";
    await this.#guest.vm.succeed(dmabufsrc(SIZE, FRAMES, pipeline, options));
    expect(countersOf(stream, SIZE)).toEqual(upTo(FRAMES));
    await expectPattern(stream, FRAMES, SIZE);
    return JSON.parse(readFileSync(join(this.#folder, "a.json"), "utf8"));
  }

  /** Expects vsockenc-probe to find the same pixels on the host, by this tier; null: no rendered ones were drawn. */
  async probe(tier: string, options = "", rendered: string | null = null): Promise<void> {
    const probe = JSON.parse(await this.#guest.vm.succeed(`vsockenc-probe ${options}`));
    expect(probe).toMatchObject({ ok: true, tier, crc_host: probe.crc_guest, error: null });
    expect(probe.crc_guest).toEqual(expect.any(String));
    expect(probe.rendered).toMatchObject({
      tier: rendered,
      crc_host: rendered && probe.rendered.crc_guest,
      skipped: rendered === null ? expect.any(String) : null,
    });
  }
}

const names = PIXEL_FORMATS.map(({ name }) => name);
const planar = PIXEL_FORMATS.filter(({ planes }) => planes.length > 1).map(({ name }) => name);

describe("a guest with our GPU", () => {
  const guest = new Guest({ gpu: "vsockenc" });

  it("verifies the path of a resource with vsockenc-probe", () => guest.probe("resource"));

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
  const relayConfig = join(temporaryFolder(), "relay.toml");
  writeFileSync(relayConfig, "[pictures]\nmax_runs = 0\n");
  const guest = new Guest({ gpu: "vsockenc", relayConfig });

  it("verifies the path of gathered pixels with vsockenc-probe", () => guest.probe("resource-gather"));

  it.each(["BGRx", ...planar])("gathers %s for each frame", async (format) => {
    const stats = await guest.encode({ allocator: "resource", format });
    const none = { warnings: 0, "frames-copied": 0, "frames-inline": 0 };
    expect(stats).toMatchObject({ tier: "resource-gather", ...none });
  });
});

describe("a guest whose GPU renders", () => {
  const guest = new Guest({ gpu: "gl" });

  it("verifies the paths of pages and of rendered pixels with vsockenc-probe", () =>
    guest.probe("resource", "", "resource-read"));
});

describe("a guest without a GPU", () => {
  const guest = new Guest({ gpu: "none" });

  it("verifies the path of inline pixels with vsockenc-probe", () => guest.probe("inline", "--inline"));

  it.each(["BGRx", ...planar])("sends the pixels of %s over the port, and warns", async (format) => {
    const bytes = SIZE.width * SIZE.height * (format === "BGRx" ? 4 : 1.5);
    const stats = await guest.encode({ allocator: "system", format });
    const sent = { "frames-inline": FRAMES, "pixel-bytes-sent": FRAMES * bytes };
    expect(stats).toMatchObject({ tier: "inline", warnings: 1, ...sent });
  });

  it("sends the pixels of DmaBufs", async () => {
    const stats = await guest.encode({ allocator: "udmabuf" });
    expect(stats).toMatchObject({ tier: "inline", warnings: 1, "frames-inline": FRAMES });
  });
});
