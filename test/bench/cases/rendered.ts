import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { dmabufsrc, type Size } from "../../support/counter.ts";
import { until } from "../../support/until.ts";
import { relayConfiguration, startRelay } from "../../vm/host-processes.ts";
import { Vm } from "../../vm/vm.ts";
import { type Case, type Figure, FULL_HD, HD, UHD } from "../case.ts";
import type { Chart } from "../charts.ts";
import { median } from "../statistics.ts";

/** What a read may cost at 1080p, beyond a frame that is encoded in place. */
const MOST_READ_MS = 1.5;
const LEAST_RATE = 0.9;
/** A program that starts, which takes longer than its frames do, draws so many at most. */
const RUN_FRAMES = 250;
/** Reading back takes a second a frame at 4K. */
const INLINE_FRAMES = 20;
const CLIENT_FRAMES = 100;
const SIZES = { "720p": HD, "1080p": FULL_HD, "4K": UHD } as const;
/** A program that draws, and waits for each picture. */
const CLIENT_SIZE = { width: 640, height: 480 };
const GL = "--gl --allocator gbm";
/** Their buffers, in rotation, are drawn once: the drawing is not measured. */
const STILL = "--still --buffers 4";
const WAYS = {
  pages: { draw: `${STILL} --allocator dumb`, tier: "resource" },
  read: { draw: `${STILL} ${GL}`, tier: "resource-read" },
} as const;
/** The guest reads each picture back, and has nothing to name it by. */
const INLINE = { draw: "--buffers 1 --gl --allocator system", tier: "inline" };

interface Statistics {
  readonly tier: string;
  readonly frames: number;
  readonly "round-trip-us-p50": number;
  readonly "drawing-us": number;
  readonly "elapsed-us": number;
}

/** A guest that renders, beside a relay with the null encoder. */
class RenderedBench {
  readonly #folder: string;
  readonly #vm: Vm;

  private constructor(folder: string, vm: Vm) {
    this.#folder = folder;
    this.#vm = vm;
  }

  static async use<T>(body: (bench: RenderedBench) => Promise<T>): Promise<T> {
    const folder = mkdtempSync(join(tmpdir(), "vsockenc-bench-rendered-"));
    const vm = await Vm.boot({ gpu: "gl", relay: false, memoryMiB: 2048, outDir: folder });
    try {
      return await body(new RenderedBench(folder, vm));
    } finally {
      await vm.shutdown();
      rmSync(folder, { recursive: true });
    }
  }

  get accelerator(): string {
    return this.#vm.accelerator;
  }

  /** Runs `body` while a relay serves the guest. */
  async withRelay<T>(exports: boolean, body: () => Promise<T>): Promise<T> {
    const before = join(this.#folder, "before.toml");
    const config = join(this.#folder, "relay.toml");
    writeFileSync(before, 'status.enabled = false\nencoder.order = ["null"]\n');
    const { portSocket, exportSocket } = this.#vm;
    const sockets = { portSocket, exportSocket: exports ? exportSocket : undefined };
    writeFileSync(config, relayConfiguration(before, sockets));
    const relay = startRelay(config);
    try {
      return await body();
    } finally {
      await relay.stop();
    }
  }

  async draw(size: Size, frames: number, draw: string, pipeline: string, name: string): Promise<Statistics> {
    const options = `${draw} --stats-json /out/${name}.json`;
    await this.#vm.succeed(dmabufsrc(size, frames, pipeline, options));
    return JSON.parse(readFileSync(join(this.#folder, `${name}.json`), "utf8")) as Statistics;
  }

  /** Milliseconds from Frame to Packet, with one frame in flight: a second one would wait for the first. */
  async frameMs(size: Size, frames: number, { draw, tier }: { draw: string; tier: string }): Promise<number> {
    const pipeline = "vsockenc name=encoder max-in-flight=1 ! fakesink";
    const statistics = await this.draw(size, frames, draw, pipeline, "frame");
    if (statistics.tier !== tier) throw new Error(`the source tier was ${statistics.tier}, not ${tier}`);
    const drawing = tier === INLINE.tier ? statistics["drawing-us"] / statistics.frames : 0;
    return (statistics["round-trip-us-p50"] + drawing) / 1000;
  }

  /** Frames a second of a program that waits for each. */
  async clientRate(frames: number): Promise<number> {
    const draw = `${INLINE.draw} --passes 4`;
    const sink = "fakesink enable-last-sample=false sync=false";
    const { frames: drawn, "elapsed-us": us } = await this.draw(CLIENT_SIZE, frames, draw, sink, "client");
    return (drawn * 1e6) / us;
  }

  /** The same beside a stream of 30 frames a second. */
  async clientRateBesideStream(frames: number): Promise<number> {
    const stream = `${WAYS.read.draw} --live --fps 30`;
    const job = this.#vm.start(dmabufsrc(HD, 60_000, "vsockenc ! fakesink", stream));
    try {
      await until(() => job.stdout !== "", "the stream");
      return await this.clientRate(frames);
    } finally {
      job.signal("INT");
      await job.done;
    }
  }
}

/** Guests whose pictures are textures of the host. */
export const rendered: Case = {
  name: "rendered",
  what: "a frame that the host's GPU rendered, read by the exporter, against pages in place and reading back in the guest",
  inVm: true,
  run: ({ frames }) =>
    RenderedBench.use(async (bench) => {
      const rows: Figure[] = [];
      const runs = Math.ceil(frames / RUN_FRAMES);
      const runFrames = Math.ceil(frames / runs);
      const guest = `in the guest (${bench.accelerator})`;
      const chart = { pages: [] as number[], read: [] as number[] };
      for (const [name, size] of Object.entries(SIZES)) {
        const times = { pages: [] as number[], read: [] as number[] };
        await bench.withRelay(true, async () => {
          for (let run = 0; run < runs; run++) {
            times.pages.push(await bench.frameMs(size, runFrames, WAYS.pages));
            times.read.push(await bench.frameMs(size, runFrames, WAYS.read));
          }
        });
        const inline = await bench.withRelay(false, () => bench.frameMs(size, INLINE_FRAMES, INLINE));
        const [pages, read] = [median(times.pages), median(times.read)];
        chart.pages.push(pages);
        chart.read.push(read);
        const samples = runs * runFrames;
        rows.push(
          {
            ...{ what: `Frame to Packet ${guest}, ${name} by read, null encoder`, unit: "ms", samples },
            ...{ measured: read, baseline: { what: "pages in place", value: pages }, ratio: read / pages },
            ...(name === "1080p"
              ? { bound: `≤ ${MOST_READ_MS} ms more`, met: read - pages <= MOST_READ_MS }
              : {}),
          },
          {
            ...{ what: `the same, ${name}, against reading back ${guest}`, unit: "ms", samples },
            ...{ measured: read, baseline: { what: "read back, and inline", value: inline } },
            ratio: read / inline,
          },
        );
      }
      const rates = { alone: [] as number[], beside: [] as number[] };
      await bench.withRelay(true, async () => {
        for (let run = 0; run < runs; run++) {
          rates.alone.push(await bench.clientRate(CLIENT_FRAMES));
          rates.beside.push(await bench.clientRateBesideStream(CLIENT_FRAMES));
        }
      });
      const ratio = median(rates.beside.map((rate, run) => rate / (rates.alone[run] ?? Number.NaN)));
      rows.push({
        ...{ what: `OpenGL ${guest} beside a stream of 720p at 30 frames/s`, unit: "frames/s" },
        ...{ measured: median(rates.beside), baseline: { what: "alone", value: median(rates.alone) } },
        ...{ ratio, samples: rates.beside.length * CLIENT_FRAMES },
        ...{ bound: `≥ ${LEAST_RATE * 100} %`, met: ratio >= LEAST_RATE },
      });
      const charts: Chart[] = [
        {
          file: "rendered",
          kind: "bars",
          title: `Frame to Packet ${guest}, null encoder`,
          yLabel: "ms",
          labels: Object.keys(SIZES),
          series: [
            { label: "pages in place", values: chart.pages },
            { label: "rendered, by read", values: chart.read },
          ],
        },
      ];
      return { rows, charts };
    }),
};
