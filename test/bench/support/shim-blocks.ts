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
import { MemfdExporter } from "../../../host/exporters/memfd.ts";
import { shim } from "../../unit/videotoolbox/support/shim.ts";
import { BLOCK_FRAMES, FULL_HD, KEYFRAME_INTERVAL } from "../case.ts";
import { DirectEncoder, type FrameTimes } from "./direct.ts";
import { scrollingText } from "./pixels.ts";

export interface ShimBlocks {
  readonly videotoolbox: readonly FrameTimes[];
  readonly libx264: readonly FrameTimes[];
}

const PICTURES = 8;

/** BGRx as NV12 without colour. Its conversion is a copy in both back ends; RGB would measure the shim's arithmetic. */
function grey(page: Uint8Array): Uint8Array {
  const nv12 = Buffer.alloc((page.length / 4) * 1.5, 128);
  for (let pixel = 0; pixel < page.length / 4; pixel += 1) nv12[pixel] = page[pixel * 4] ?? 0;
  return nv12;
}

const blocks = Number(process.argv[2]);
const folder = mkdtempSync(join(tmpdir(), "vsockenc-bench-shim-"));
const path = join(folder, "export");
const pixels = FULL_HD.width * FULL_HD.height;
const exporter = new MemfdExporter({ path, bytes: PICTURES * pixels * 2 }, pino({ level: "silent" }));
const pages = scrollingText(FULL_HD.width, FULL_HD.height, PICTURES);
const pictures = Array.from({ length: PICTURES }, (_, index) => {
  exporter.create(index + 1, { ...FULL_HD, bytes: pixels * 1.5 });
  const page = pages.next();
  if (page.done !== true) exporter.write(index + 1, grey(page.value));
  return index + 1;
});

// The shim takes a millisecond ahead of each frame unless told otherwise.
shim.setScript("delay:*:0");
const open = (encoder: string): Promise<DirectEncoder> =>
  DirectEncoder.open(encoder, FULL_HD, KEYFRAME_INTERVAL, path, pictures, "NV12");
const encoders = { videotoolbox: await open("videotoolbox"), libx264: await open("libx264") };
const names = ["videotoolbox", "libx264"] as const;
const times: Record<(typeof names)[number], FrameTimes[]> = { videotoolbox: [], libx264: [] };
for (const name of names) await encoders[name].times(BLOCK_FRAMES);
for (let block = 0; block < blocks; block += 1) {
  // Each goes first in turn.
  for (const name of block % 2 === 0 ? names : names.toReversed()) {
    times[name].push(...(await encoders[name].times(BLOCK_FRAMES)));
  }
}
for (const name of names) await encoders[name].close();
exporter.close();
rmSync(folder, { recursive: true });
console.log(JSON.stringify(times satisfies ShimBlocks));
