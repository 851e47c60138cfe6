/**
 * A process of its own, because a process has one media.node: here it is the one with VideoToolbox's shim. It encodes the
 * same pictures in turn through the videotoolbox back end, whose encoder is the shim's libx264, and through
 * libavcodec's, and prints ShimBlocks as JSON.
 *
 *     tsx test/bench/support/shim-blocks.ts BLOCKS
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { MemfdExporter } from "../../support/memfd/memfd-exporter.ts";
import { shim } from "../../unit/videotoolbox/support/shim.ts";
import { BLOCK_FRAMES } from "../case.ts";
import { DirectEncoder, type FrameTimes } from "./direct.ts";
import { scrollingText } from "./pixels.ts";

export interface ShimBlocks {
  readonly videotoolbox: readonly FrameTimes[];
  readonly libx264: readonly FrameTimes[];
}

const PICTURES = 8;
/** Rows that no buffer holds end to end: where they are, a plane is copied at once, and the shim pads them further than a Mac. */
const SIZE = { width: 1912, height: 1080 };
/** The only one that low-latency rate control has, and so the shim's for every other. */
const PROFILE = "high";

/** BGRx as NV12 without colour. Its conversion is a copy in both back ends; RGB would measure the shim's arithmetic. */
function grey(page: Uint8Array): Uint8Array {
  const nv12 = Buffer.alloc((page.length / 4) * 1.5, 128);
  for (let pixel = 0; pixel < page.length / 4; pixel += 1) nv12[pixel] = page[pixel * 4] ?? 0;
  return nv12;
}

const blocks = Number(process.argv[2]);
const folder = mkdtempSync(join(tmpdir(), "vsockenc-bench-shim-"));
const path = join(folder, "export");
const pixels = SIZE.width * SIZE.height;
const exporter = new MemfdExporter({ path, bytes: PICTURES * pixels * 2 }, pino({ level: "silent" }));
const pages = scrollingText(SIZE.width, SIZE.height, PICTURES);
const pictures = Array.from({ length: PICTURES }, (_, index) => {
  exporter.create(index + 1, { ...SIZE, bytes: pixels * 1.5 });
  const page = pages.next();
  if (page.done !== true) exporter.write(index + 1, grey(page.value));
  return index + 1;
});

// No millisecond ahead of each frame, and no sums over its pixels.
shim.setScript("delay:*:0;unchecked");
const open = (encoder: string): Promise<DirectEncoder> =>
  DirectEncoder.open(encoder, SIZE, path, pictures, { format: "NV12", profile: PROFILE });
const encoders = { videotoolbox: await open("videotoolbox"), libx264: await open("libx264") };
const names = ["videotoolbox", "libx264"] as const;
const times = { videotoolbox: [] as FrameTimes[], libx264: [] as FrameTimes[] };
let shimNs = 0;
/** The session's own time has VideoToolbox's threads in it, and the waiting for them. */
function shimUs(): number {
  const before = shimNs;
  shimNs = shim.counters()["encoding_ns"] ?? Number.NaN;
  return (shimNs - before) / 1000;
}
const timesOf = async (name: (typeof names)[number]): Promise<FrameTimes[]> =>
  await encoders[name].times(BLOCK_FRAMES, name === "videotoolbox" ? shimUs : undefined);
for (const name of names) await timesOf(name);
for (let block = 0; block < blocks; block += 1) {
  // Each goes first in turn.
  for (const name of block % 2 === 0 ? names : names.toReversed()) {
    times[name].push(...(await timesOf(name)));
  }
}
for (const name of names) await encoders[name].close();
exporter.close();
rmSync(folder, { recursive: true });
console.log(JSON.stringify(times satisfies ShimBlocks));
