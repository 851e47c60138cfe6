/**
 * The screen of a real desktop, captured by virtgpusrc: a compositor that flips (weston), and an X server that draws into
 * the framebuffer that is shown. The host encodes the framebuffers themselves; decoded pictures are compared with the
 * GPU process's screen.
 *
 * After an intended change of the element's description: npx vitest run --project vm -u test/e2e/desktop.vm.test.ts
 *
 * VSOCKENC_TEST_PICTURES=DIR keeps one decoded picture of each test there.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { goldenFile, withoutPaths } from "../element/support/programs.ts";
import { countersOf, readCounters } from "../support/counter.ts";
import { temporaryFolder } from "../support/folder.ts";
import { until } from "../support/until.ts";
import type { Desktop } from "../vm/image.ts";
import { useVm } from "../vm/use-vm.ts";
import type { Vm } from "../vm/vm.ts";
import { BUFFERS, decode, FRAME_BYTES, isDesktop, MODE, SIZE } from "./support/desktop-picture.ts";
import { Screen } from "./support/screen.ts";

/** Below the bit rate's quality, above that of wrong channels, strides or matrices. */
const MIN_PSNR_DB = 30;

type Outcome = Readonly<Record<"end" | "errors" | "properties" | "stats", unknown>>;

/** A guest with a desktop, for a describe block. */
class Guest {
  readonly folder = temporaryFolder();
  screen: Screen | undefined;
  readonly #desktop: Desktop;
  readonly #guest: ReturnType<typeof useVm>;

  constructor(desktop: Desktop) {
    this.#desktop = desktop;
    this.#guest = useVm({ desktop, mode: MODE, outDir: this.folder });
    beforeAll(async () => {
      this.screen = await Screen.connect(this.vm.exportSocket);
      await until(async () => isDesktop(await this.screenshot()), "the desktop's background");
    });
    afterAll(() => this.screen?.close());
  }

  get vm(): Vm {
    return this.#guest.vm;
  }

  /** Encodes the screen to a file, without loss of frames; resolves with the pipeline's report. */
  capture(name: string, frames: number, settings = ""): Promise<Outcome> {
    return this.encode(name, `virtgpusrc num-buffers=${frames} ${settings}`);
  }

  async encode(name: string, source: string): Promise<Outcome> {
    const pipeline =
      `${source} ! vsockenc name=encoder drop=never bitrate=20000 ! ` +
      `h264parse ! filesink location=/out/${name}.h264`;
    const result = await this.vm.run(`run-pipeline --get encoder.source '${pipeline}'`);
    expect(result, result.stderr).toMatchObject({ status: 0 });
    keepPicture(this.stream(name), `${this.#desktop}-${name}`);
    return JSON.parse(result.stdout) as Outcome;
  }

  stream(name: string): string {
    return join(this.folder, `${name}.h264`);
  }

  /** The pixels that the GPU shows. */
  async screenshot(): Promise<Buffer> {
    return (await this.screen?.read())?.pixels ?? Buffer.alloc(0);
  }

  /** Runs `action` while the counter is on the screen. */
  async withCounter<T>(action: () => Promise<T>): Promise<T> {
    const job = this.vm.start(`desktop counter ${MODE}`);
    try {
      await until(async () => counterOf(await this.screenshot()) !== undefined, "the counter");
      return await action();
    } finally {
      job.signal("INT");
      await job.done;
    }
  }
}

function keepPicture(file: string, name: string): void {
  const folder = process.env["VSOCKENC_TEST_PICTURES"];
  if (folder === undefined) return;
  spawnSync("ffmpeg", ["-v", "error", "-y", "-i", file, "-update", "1", join(folder, `${name}.png`)]);
}

/** The counter in a picture of 32-bit pixels; undefined: none, or one that is half drawn. */
function counterOf(pixels: Buffer): number | undefined {
  const green = Uint8Array.from({ length: SIZE.width * 64 }, (_, pixel) => pixels[pixel * 4 + 1] ?? 0);
  return readCounters([green], SIZE.width)[0];
}

/** Of red, green and blue; in dB. */
function psnrOf(a: Buffer, b: Buffer): number {
  let sum = 0;
  for (let at = 0; at < FRAME_BYTES; at++) {
    if (at % 4 < 3) sum += ((a[at] ?? 0) - (b[at] ?? 0)) ** 2;
  }
  return 10 * Math.log10(255 ** 2 / (sum / ((FRAME_BYTES * 3) / 4)));
}

function expectInPlace(outcome: Outcome): void {
  expect(outcome).toMatchObject({ end: "eos", errors: [], properties: { "encoder.source": "resource" } });
  const none = { "frames-copied": 0, "frames-inline": 0, "pixel-bytes-sent": 0 };
  expect(outcome.stats).toMatchObject({ tier: "resource", ...none });
}

describe.each(["weston", "xorg"] as const)("the screen of %s", (desktop) => {
  const guest = new Guest(desktop);

  it("shows the desktop", async () => {
    // Whether something moves or not: the second frame comes when the first is a second old.
    expectInPlace(await guest.capture("desktop", 2));
    expect(isDesktop(decode(guest.stream("desktop")).at(-1))).toBe(true);
  });

  it("is encoded in place, each frame as sharp as it was drawn", async () => {
    const outcome = await guest.withCounter(() => guest.capture("counter", 40));
    expectInPlace(outcome);
    const counters = countersOf(guest.stream("counter"), SIZE);
    expect(counters).toHaveLength(40);
    const whole = counters.filter((counter) => counter !== undefined);
    // The screen is not kept still while it is read, so a frame may consist of two pictures.
    expect(new Set(whole).size).toBeGreaterThan(5);
    // The host may read a buffer into which the compositor already draws the next picture but one.
    whole.forEach((counter, at) => {
      expect(counter).toBeGreaterThanOrEqual(Math.max(...whole.slice(0, at + 1)) - BUFFERS);
    });
  });

  it("is what the GPU shows", async () => {
    const screenshots = await guest.withCounter(async () => {
      const capturing = guest.capture("compared", 40);
      const taken = new Map<number | undefined, Buffer>();
      let done = false;
      void capturing.finally(() => {
        done = true;
      });
      await until(async () => {
        const screenshot = await guest.screenshot();
        taken.set(counterOf(screenshot), screenshot);
        return done;
      }, "the end of the capture");
      await capturing;
      return taken;
    });
    const decoded = new Map(decode(guest.stream("compared")).map((frame) => [counterOf(frame), frame]));
    const pairs = [...screenshots].flatMap(([counter, screenshot]) => {
      const frame = counter === undefined ? undefined : decoded.get(counter);
      return frame === undefined ? [] : [psnrOf(screenshot, frame)];
    });
    expect(pairs.length).toBeGreaterThan(0);
    expect(Math.max(...pairs)).toBeGreaterThan(MIN_PSNR_DB);
  });

  it("is captured for users with CAP_SYS_ADMIN only; the error names it", async () => {
    const asNobody =
      "GST_REGISTRY_UPDATE=no setpriv --reuid 65534 --regid 65534 --clear-groups gst-launch-1.0 -q virtgpusrc ! fakesink";
    const closed = await guest.vm.run(`chmod 660 /dev/dri/card0; ${asNobody} 2>&1`);
    expect(closed.stdout).toContain("may not be opened");
    const open = await guest.vm.run(`chmod 666 /dev/dri/card0; ${asNobody} 2>&1; chmod 660 /dev/dri/card0`);
    expect(open.stdout).toContain("setcap cap_sys_admin+ep");
  });

  it.runIf(desktop === "weston")("has its source described as in the file for this GStreamer", async () => {
    const version = await guest.vm.succeed("gst-inspect-1.0 --version");
    const description = await guest.vm.succeed("gst-inspect-1.0 --no-colors virtgpusrc");
    const golden = goldenFile(version).replace("gst-inspect", "gst-inspect-virtgpusrc");
    await expect(withoutPaths(description)).toMatchFileSnapshot(golden);
  });

  it.runIf(desktop === "xorg")("reports the X server's cursor to the host, apart from the picture", () => {
    const { pixels = Buffer.alloc(0), ...size } = guest.screen?.cursor ?? {};
    expect(size).toEqual({ width: 64, height: 64 });
    const alphas = pixels.filter((_, index) => index % 4 === 3);
    // An arrow or a cross: something is drawn, and most of the square is not.
    expect(alphas.filter((alpha) => alpha !== 0).length).toBeGreaterThan(10);
    expect(alphas.filter((alpha) => alpha === 0).length).toBeGreaterThan(alphas.length / 2);
    // The server puts it into the middle; its hot spot is within the image.
    const { x = 0, y = 0 } = guest.screen?.cursorPosition ?? {};
    expect(Math.abs(x + 32 - SIZE.width / 2)).toBeLessThanOrEqual(32);
    expect(Math.abs(y + 32 - SIZE.height / 2)).toBeLessThanOrEqual(32);
  });

  it.runIf(desktop === "xorg")("contains the X server's cursor when requested", async () => {
    expectInPlace(await guest.capture("plain", 3, "pacing=rate"));
    expectInPlace(await guest.capture("cursor", 3, "pacing=rate cursor=true"));
    const [plain, cursor] = ["plain", "cursor"].map((name) => decode(guest.stream(name)).at(-1));
    // The pointer is where the server puts it at its start, the middle; nothing else is there.
    const white = (frame: Buffer | undefined): number => {
      let count = 0;
      for (let y = 355; y < 395; y++)
        for (let x = 635; x < 665; x++) if ((frame?.[(y * SIZE.width + x) * 4 + 2] ?? 0) > 200) count++;
      return count;
    };
    expect(white(plain)).toBe(0);
    expect(white(cursor)).toBeGreaterThan(10);
  });

  it.runIf(desktop === "xorg")("may change its size while it is captured", async () => {
    const capturing = guest.capture("sizes", 240, "pacing=rate");
    await until(() => existsSync(guest.stream("sizes")), "the stream's beginning");
    await guest.vm.run("DISPLAY=:0 xrandr --output Virtual-1 --mode 1024x768");
    expectInPlace(await capturing);
    const args = ["-v", "error", "-show_entries", "frame=width,height", "-of", "csv=p=0"];
    const { stdout } = spawnSync("ffprobe", [...args, guest.stream("sizes")], { encoding: "utf8" });
    const sizes = new Set(stdout.match(/^\d+,\d+/gm));
    expect([...sizes]).toEqual(["1280,720", "1024,768"]);
  });
});

describe("the screen of weston, as its own PipeWire stream", () => {
  const guest = new Guest("pipewire");

  /** What the compositor offers, taken with these caps. */
  async function capture(name: string, caps: string): Promise<Outcome> {
    const source = `pipewiresrc autoconnect=false client-name=${name} num-buffers=5 ! ${caps}`;
    const linked = guest.vm.run(`desktop link ${name}`);
    const outcome = await guest.encode(name, source);
    expect(await linked).toMatchObject({ status: 0 });
    expect(isDesktop(decode(guest.stream(name)).at(-1))).toBe(true);
    return outcome;
  }

  it("is encoded in place from DmaBufs", async () => {
    expectInPlace(await capture("dmabuf", "video/x-raw(memory:DMABuf),format=DMA_DRM"));
  });

  it("is copied once from memory", async () => {
    const outcome = await capture("memory", "video/x-raw");
    expect(outcome).toMatchObject({
      properties: { "encoder.source": "resource-copy" },
      stats: { "frames-copied": 5, "pixel-bytes-sent": 0 },
    });
  });
});
