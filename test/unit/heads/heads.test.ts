import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { mappedRuns } from "../../../host/native/picture.ts";
import { vsockenc } from "../../../proto/protobuf.ts";
import { until } from "../../support/until.ts";
import { attach, detach, flush, gpuCommand, setScanout, unref } from "../gpu/front-end.ts";
import type { TestViewer } from "../viewer/support/test-viewer.ts";
import { Bench, HEAD, SIZE, slopes, type TestPicture } from "./support/bench.ts";
import { difference, newestPicture } from "./support/decoded.ts";

const { StateCode, SourceKind } = vsockenc.viewer;
const { width, height } = SIZE;
const OFF = setScanout(0, 0, 0, 0);
const show = (id: number, size = SIZE): Buffer => setScanout(0, id, size.width, size.height);
const damage = (id: number): Buffer => flush(id, [0, 0, width, height]);
/** Mean of a colour byte: coding and conversion cost less, another picture is far beyond. */
const SAME = 4;

let bench: Bench;

beforeEach(() => {
  bench = new Bench();
});
afterEach(() => bench.stop());

/** A GPU and a relay, and resource 1 with this shade on the head. */
async function showing(shade: number, relay: Parameters<Bench["startRelay"]>[0] = {}): Promise<void> {
  await bench.startGpu();
  await bench.startRelay(relay);
  await bench.resource(1, slopes(shade));
  await bench.command(show(1));
}

/** A viewer of the head, once the head is known. */
async function watching(): Promise<TestViewer> {
  const viewer = await bench.viewer();
  const listed = (): boolean =>
    viewer
      .all("sources")
      .at(-1)
      ?.sources?.some(({ id }) => id === HEAD) ?? false;
  await until(listed, "the head in the list");
  viewer.watch(HEAD);
  return viewer;
}

/** Settles when the viewer's newest picture is this one. */
async function sees(viewer: TestViewer, picture: TestPicture): Promise<void> {
  let seen = -1;
  await until(() => {
    if (viewer.units.length === seen) return false;
    seen = viewer.units.length;
    return difference(newestPicture(viewer), picture) < SAME;
  }, "the picture");
}

async function untilState(viewer: TestViewer, code: number, text: string): Promise<void> {
  await until(
    () => viewer.state?.code === code && viewer.state.text.includes(text),
    `"${text}"; it says ${JSON.stringify(viewer.state)}`,
  );
}

describe("a head", () => {
  it("shows a picture that was there before the first viewer", async () => {
    await bench.startGpu();
    await bench.resource(1, slopes(90));
    await bench.command(show(1));
    await bench.startRelay();
    const viewer = await watching();
    await sees(viewer, slopes(90));
    expect(viewer.all("sources").at(-1)?.sources).toContainEqual(
      expect.objectContaining({ id: HEAD, kind: SourceKind.HEAD, vm: "desk", title: "Head 0" }),
    );
    expect(viewer.all("configuration")).toMatchObject([{ width, height }]);
    expect(viewer.units[0]?.key).toBe(true);
    await until(() => viewer.all("statistics").length > 0, "statistics");
    expect(viewer.all("statistics").at(-1)).toMatchObject({ encoder: "libx264", tier: "resource" });
  });

  it("shows the part of the resource that the guest scans out, in the resource's format", async () => {
    await bench.startGpu();
    await bench.startRelay();
    const part = { x: 64, y: 32, width: 128, height: 96 };
    const whole = slopes(40);
    // R8G8B8X8: red and blue change places.
    await bench.resource(1, { ...whole, pixels: swapped(whole.pixels) }, 134);
    await bench.command(gpuCommand(0x103, [part.x, part.y, part.width, part.height, 0, 1]));
    const viewer = await watching();
    const rows = Array.from({ length: part.height }, (_, row) => {
      const from = ((part.y + row) * width + part.x) * 4;
      return whole.pixels.subarray(from, from + part.width * 4);
    });
    await sees(viewer, { ...part, pixels: Buffer.concat(rows) });
  });

  it("is encoded on damage only, at most at its rate", async () => {
    await showing(0, { rate: 1 });
    const viewer = await watching();
    await sees(viewer, slopes(0));
    const before = viewer.units.length;
    const beforeMs = performance.now();
    for (let shade = 10; shade <= 200; shade += 10) {
      bench.draw(1, slopes(shade));
      await bench.command(damage(1));
    }
    await sees(viewer, slopes(200));
    // One a second, and two for a pause before.
    const seconds = (performance.now() - beforeMs) / 1000;
    expect(viewer.units.length - before).toBeLessThanOrEqual(seconds + 2);
  });

  it("costs nothing while no viewer watches it", async () => {
    await showing(10);
    const encoders = async (): Promise<string | undefined> =>
      /^vsockenc_heads\{.*\} (\d+)$/m.exec(await bench.metrics())?.[1];
    await bench.command(damage(1));
    const viewer = await bench.viewer();
    await viewer.settled();
    expect(await encoders()).toBeUndefined();
    viewer.watch(HEAD);
    await sees(viewer, slopes(10));
    expect(await encoders()).toBe("1");
    expect(mappedRuns()).toBeGreaterThan(0);
    viewer.watch("");
    await until(async () => (await encoders()) === "0", "the encoder's end");
    await until(() => mappedRuns() === 0, "the pages' end");
    expect(await bench.metrics()).toMatch(/vsockenc_head_frames_encoded_total\{vm="desk",key="true"\} 1\n/);
  });

  it("follows page flips", async () => {
    await bench.startGpu();
    await bench.startRelay();
    await bench.resource(1, slopes(20));
    await bench.resource(2, slopes(220));
    await bench.command(show(1));
    const viewer = await watching();
    for (const id of [1, 2, 1, 2]) {
      await bench.command(show(id));
      await bench.command(damage(id));
      await sees(viewer, slopes(id === 1 ? 20 : 220));
    }
    // The same two stay mapped, and flips need no key frame.
    expect(viewer.units.filter(({ key }) => key)).toHaveLength(1);
  });

  it("gets a new size, off and on again", async () => {
    await bench.startGpu();
    await bench.startRelay();
    const small = { width: 160, height: 120 };
    await bench.resource(1, slopes(30));
    await bench.resource(2, slopes(150, small));
    await bench.command(show(1));
    const viewer = await watching();
    await sees(viewer, slopes(30));
    await bench.command(show(2, small));
    await sees(viewer, slopes(150, small));
    expect(viewer.all("configuration")).toMatchObject([SIZE, small]);
    await bench.command(OFF);
    await untilState(viewer, StateCode.AWAY, "display is off");
    await until(() => mappedRuns() === 0, "the pages' end");
    await bench.command(show(1));
    await sees(viewer, slopes(30));
  });

  it("releases pages that the guest frees, also those that are being encoded", async () => {
    await showing(60);
    const viewer = await watching();
    await sees(viewer, slopes(60));
    bench.draw(1, slopes(61));
    await bench.command(damage(1));
    await bench.command(unref(1));
    await untilState(viewer, StateCode.AWAY, "display is off");
    await until(() => mappedRuns() === 0, "the pages' end");
    await bench.resource(1, slopes(180));
    await bench.command(show(1));
    await sees(viewer, slopes(180));
  });

  it("releases pages while their resource stays on the screen", async () => {
    await showing(60);
    const viewer = await watching();
    await sees(viewer, slopes(60));
    await bench.command(detach(1));
    await until(() => mappedRuns() === 0, "the pages' end");
    const { pixels } = slopes(210);
    bench.gpu?.write(0x20_0000, pixels);
    await bench.command(attach(1, [[0x20_0000, pixels.length]]));
    await bench.command(damage(1));
    await sees(viewer, slopes(210));
  });

  it("shows why it cannot be shown, and recovers by itself", async () => {
    await bench.startGpu();
    await bench.startRelay();
    await bench.command(gpuCommand(0x101, [1, 2, width, height]));
    await bench.command(show(1));
    const viewer = await watching();
    await untilState(viewer, StateCode.FAILED, "resource 1 has no pages at the moment");
    const { pixels } = slopes(77);
    bench.gpu?.write(0x20_0000, pixels);
    await bench.command(attach(1, [[0x20_0000, pixels.length]]));
    await sees(viewer, slopes(77));
  });

  it("is away while its exporter is, and comes back with it", async () => {
    await showing(100);
    const viewer = await watching();
    await sees(viewer, slopes(100));
    await bench.stopGpu();
    await untilState(viewer, StateCode.AWAY, "The VM is off");
    await until(() => mappedRuns() === 0, "the pages' end");
    await bench.startGpu();
    await untilState(viewer, StateCode.AWAY, "display is off");
    await bench.resource(1, slopes(200));
    await bench.command(show(1));
    await sees(viewer, slopes(200));
  });

  it("gives a later viewer the current picture, though nothing changes", async () => {
    await showing(50);
    await sees(await watching(), slopes(50));
    await sees(await watching(), slopes(50));
    expect(await bench.metrics()).toMatch(/vsockenc_heads\{.*\} 1\n/);
  });
});

/** The bytes of each pixel in the order of RGBx instead of BGRx. */
function swapped(pixels: Buffer): Buffer {
  const result = Buffer.from(pixels);
  for (let at = 0; at < result.length; at += 4) {
    result[at] = pixels[at + 2] ?? 0;
    result[at + 2] = pixels[at] ?? 0;
  }
  return result;
}
