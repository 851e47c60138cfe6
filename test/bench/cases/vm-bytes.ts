import { readFileSync } from "node:fs";
import { join } from "node:path";
import { dmabufsrc } from "../../support/counter.ts";
import { type Case, FULL_HD } from "../case.ts";

const MOST_BYTES = 128;
const OPTIONS = "--allocator resource --format BGRx --fps 60 --stats-json /out/bytes.json";

/** Bytes on the port for a frame whose pixels stay in place. */
export const vmBytes: Case = {
  name: "vm-bytes",
  what: "bytes from guest to host for a frame that is sent by resource id",
  inVm: true,
  async run({ frames, vm }) {
    const bench = await vm();
    const counted = (): number => bench.vm.portProxy?.counts().guestToHost ?? Number.NaN;
    const before = counted();
    await bench.vm.succeed(dmabufsrc(FULL_HD, frames, "vsockenc ! fakesink", OPTIONS));
    const bytes = (counted() - before) / frames;
    const { tier } = JSON.parse(readFileSync(join(bench.outDir, "bytes.json"), "utf8")) as { tier: string };
    if (tier !== "resource") throw new Error(`the source tier was ${tier}, not resource`);
    const pixels = FULL_HD.width * FULL_HD.height * 4;
    return {
      rows: [
        {
          what: "guest to host, 1080p BGRx; everything on the port (opening, buffers, pings) over the frames",
          unit: "bytes/frame",
          measured: bytes,
          baseline: { what: "of pixels, were they sent (computed)", value: pixels },
          ratio: bytes / pixels,
          samples: frames,
          bound: `≤ ${MOST_BYTES}`,
          met: bytes <= MOST_BYTES,
        },
      ],
    };
  },
};
