import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { packageRoot } from "../../../common/package-root.ts";
import { blockCount, type Case } from "../case.ts";
import type { Row } from "../report.ts";
import { median, quantile } from "../statistics.ts";
import type { FrameTimes } from "../support/direct.ts";
import type { ShimBlocks } from "../support/shim-blocks.ts";

/** No more than libavcodec's own path, within the variation of one run. */
const MOST = 1.1;

function measureBlocks(frames: number): ShimBlocks {
  const script = join("test", "bench", "support", "shim-blocks.ts");
  const command = ["tsx", script, String(blockCount(frames))];
  const { status, stdout, stderr } = spawnSync("npx", command, {
    cwd: packageRoot,
    encoding: "utf8",
    maxBuffer: 1 << 26,
  });
  if (status !== 0) throw new Error(`${command.join(" ")} failed:\n${stderr}`);
  return JSON.parse(stdout) as ShimBlocks;
}

/** The cost of the videotoolbox back end itself: its encoder here is libx264, like libavcodec's. */
export const videotoolboxShim: Case = {
  name: "videotoolbox-shim",
  what: "what the VideoToolbox back end adds to a frame, against libavcodec's, with the shim on Linux (nothing of a Mac)",
  inVm: false,
  encoder: "videotoolbox-shim",
  async run({ frames }) {
    const { videotoolbox, libx264 } = measureBlocks(frames);
    const compare = (what: string, of: (times: FrameTimes) => number): Row & { ratio: number } => {
      const [measured, baseline] = [videotoolbox.map(of), libx264.map(of)];
      return {
        name: this.name,
        what,
        unit: "µs",
        measured: median(measured),
        p95: quantile(measured, 0.95),
        baseline: {
          what: "libavcodec's back end",
          value: median(baseline),
          p95: quantile(baseline, 0.95),
        },
        ratio: median(measured) / median(baseline),
        samples: measured.length,
      };
    };
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
