import { join } from "node:path";
import { BLOCK_FRAMES, blockCount, type Case, FULL_HD } from "../case.ts";
import { median } from "../statistics.ts";
import { DirectEncoder } from "../support/direct.ts";
import { closedLoop } from "../support/load.ts";
import { pictureMemory, withRig } from "../support/rig.ts";

/** The element's (DEFAULT_IN_FLIGHT_FRAMES). */
const IN_FLIGHT = 2;
const LEAST_RATIO = 0.95;

/** The encoder's throughput through a relay. */
export const throughput: Case = {
  name: "throughput",
  what: "frames a second through the relay, against the same encoder called directly",
  run: ({ frames, encoder }) =>
    withRig({ encoder, memory: pictureMemory(FULL_HD) }, async (rig) => {
      const pictures = rig.pictures(FULL_HD, true);
      await rig.guest.open(FULL_HD, pictures);
      const direct = await DirectEncoder.open(encoder, FULL_HD, join(rig.folder, "export"), pictures);
      const relayed: number[] = [];
      const bare: number[] = [];
      const ratios: number[] = [];
      try {
        await closedLoop(rig.guest, BLOCK_FRAMES, IN_FLIGHT);
        await direct.run(BLOCK_FRAMES, IN_FLIGHT);
        for (let block = 0; block < blockCount(frames); block += 1) {
          // Each goes first in turn; otherwise a machine that slows down would look like a slow relay.
          for (const variant of block % 2 === 0 ? ["relay", "direct"] : ["direct", "relay"]) {
            if (variant === "direct") bare.push(await direct.run(BLOCK_FRAMES, IN_FLIGHT));
            else relayed.push((await closedLoop(rig.guest, BLOCK_FRAMES, IN_FLIGHT)).framesPerSecond);
          }
          ratios.push((relayed.at(-1) ?? 0) / (bare.at(-1) ?? 1));
        }
      } finally {
        await direct.close();
      }
      const ratio = median(ratios);
      return {
        rows: [
          {
            what: `1080p ${encoder} through the relay, ${IN_FLIGHT} in flight`,
            unit: "frames/s",
            measured: median(relayed),
            baseline: { what: "called directly", value: median(bare) },
            ratio,
            samples: relayed.length * BLOCK_FRAMES,
            bound: `≥ ${LEAST_RATIO * 100} %`,
            met: ratio >= LEAST_RATIO,
          },
        ],
        charts: [
          {
            file: "throughput",
            kind: "lines",
            title: `Frames a second in alternating blocks of ${BLOCK_FRAMES}, 1080p ${encoder}`,
            yLabel: "frames/s",
            labels: bare.map((_, block) => String(block + 1)),
            series: [
              { label: "through the relay", values: relayed },
              { label: "called directly", values: bare },
            ],
          },
        ],
      };
    }),
};
