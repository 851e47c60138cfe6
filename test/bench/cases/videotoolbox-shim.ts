import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { packageRoot } from "../../../common/package-root.ts";
import { blockCount, type Case, type Figure } from "../case.ts";
import { baselineOf, median, spread } from "../statistics.ts";
import type { FrameTimes } from "../support/direct.ts";
import type { ShimBlocks } from "../support/shim-blocks.ts";

/** No more than libavcodec's own path, within the variation of one run. */
const MOST = 1.1;

function measureBlocks(frames: number): ShimBlocks {
  const script = join("test", "bench", "support", "shim-blocks.ts");
  const command = ["tsx", script, String(blockCount(frames))];
  const options = { cwd: packageRoot, encoding: "utf8", maxBuffer: 1 << 26 } as const;
  const { status, stdout, stderr } = spawnSync("npx", command, options);
  if (status !== 0) throw new Error(`${command.join(" ")} failed:\n${stderr}`);
  return JSON.parse(stdout);
}

/** The cost of the videotoolbox back end itself: its encoder here is libx264, like libavcodec's. */
export const videotoolboxShim: Case = {
  name: "videotoolbox-shim",
  what: "what the VideoToolbox back end adds to a frame, against libavcodec's, with the shim on Linux (nothing of a Mac)",
  encoder: "videotoolbox-shim",
  async run({ frames }) {
    const { videotoolbox, libx264 } = measureBlocks(frames);
    const compare = (what: string, of: (times: FrameTimes) => number): Figure & { ratio: number } => ({
      what,
      unit: "µs",
      ...spread(videotoolbox.map(of)),
      baseline: baselineOf("libavcodec's back end", libx264.map(of)),
      ratio: median(videotoolbox.map(of)) / median(libx264.map(of)),
    });
    const own = compare(
      "a frame's time outside encoder and copy, 1912x1080, one in flight",
      ({ total, convert, encode }) => total - convert - encode,
    );
    return {
      rows: [
        { ...own, bound: `≤ ${MOST}`, met: own.ratio <= MOST },
        compare("NV12 copied into the encoder's buffer", ({ convert }) => convert),
        compare(
          "the encoder (libx264): its call, or from EncodeFrame to its callback",
          ({ encode }) => encode,
        ),
        compare("all of a frame's time", ({ total }) => total),
      ],
    };
  },
};
