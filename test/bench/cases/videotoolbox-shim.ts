import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { packageRoot } from "../../../host/package-root.ts";
import { blockCount, type Case } from "../case.ts";
import type { Row } from "../report.ts";
import { median, quantile } from "../statistics.ts";
import type { FrameTimes } from "../support/direct.ts";
import type { ShimBlocks } from "../support/shim-blocks.ts";

/** Microseconds. A thread is woken twice more a frame: VideoToolbox's own, and the one that it calls back on. */
const MOST_MORE = 300;

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

/** What the videotoolbox back end itself costs: the encoder behind it is libx264 here, as it is behind libavcodec's. */
export const videotoolboxShim: Case = {
  name: "videotoolbox-shim",
  what: "what the VideoToolbox back end adds to a frame, against libavcodec's, with the shim on Linux (nothing of a Mac)",
  inVm: false,
  encoder: "videotoolbox-shim",
  async run({ frames }) {
    const { videotoolbox, libx264 } = measureBlocks(frames);
    const compare = (what: string, of: (times: FrameTimes) => number): Row => {
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
      "a frame's time outside conversion and encoder, 1080p, one in flight",
      ({ total, convert, encode }) => total - convert - encode,
    );
    const more = own.measured - (own.baseline?.value ?? 0);
    return {
      rows: [
        { ...own, bound: `≤ ${MOST_MORE} µs more`, met: more <= MOST_MORE },
        compare("libx264 with what the shim checks around it", ({ encode }) => encode),
        compare("NV12 copied into the encoder's buffer", ({ convert }) => convert),
      ],
      charts: [],
    };
  },
};
