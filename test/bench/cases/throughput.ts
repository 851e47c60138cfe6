import { join } from "node:path";
import { BLOCK_FRAMES, blockCount, type Case, FULL_HD, KEYFRAME_INTERVAL } from "../case.ts";
import { median } from "../statistics.ts";
import { DirectEncoder } from "../support/direct.ts";
import { closedLoop } from "../support/load.ts";
import { pictureMemory, Rig } from "../support/rig.ts";

/** As many as the element has with the relay (DEFAULT_IN_FLIGHT_FRAMES). */
const IN_FLIGHT = 2;
const LEAST_RATIO = 0.95;

const byBlock = (rates: readonly number[]) => rates.map((y, block) => ({ x: block + 1, y }));

/** What of the encoder's speed is left when a relay is between it and who wants frames encoded. */
export const throughput: Case = {
  name: "throughput",
  what: "frames a second through the relay, against the same encoder called directly",
  inVm: false,
  async run({ frames, encoder }) {
    const rig = new Rig({ encoder, memory: pictureMemory(FULL_HD) });
    let direct: DirectEncoder | undefined;
    try {
      const pictures = rig.pictures({ ...FULL_HD, drawn: true });
      const exportPath = join(rig.folder, "export");
      await rig.guest.open(FULL_HD, pictures, KEYFRAME_INTERVAL);
      direct = await DirectEncoder.open(encoder, FULL_HD, KEYFRAME_INTERVAL, exportPath, pictures);
      await closedLoop(rig.guest, BLOCK_FRAMES, IN_FLIGHT);
      await direct.run(BLOCK_FRAMES, IN_FLIGHT);
      const relayed: number[] = [];
      const bare: number[] = [];
      const ratios: number[] = [];
      for (let block = 0; block < blockCount(frames); block += 1) {
        // Each goes first in turn: a machine that slows down would else look like a slow relay.
        const order = block % 2 === 0 ? ["relay", "direct"] : ["direct", "relay"];
        for (const variant of order) {
          if (variant === "relay") {
            relayed.push((await closedLoop(rig.guest, BLOCK_FRAMES, IN_FLIGHT)).framesPerSecond);
          } else {
            bare.push(await direct.run(BLOCK_FRAMES, IN_FLIGHT));
          }
        }
        ratios.push((relayed.at(-1) ?? 0) / (bare.at(-1) ?? 1));
      }
      const ratio = median(ratios);
      return {
        rows: [
          {
            name: this.name,
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
            xLabel: "block",
            yLabel: "frames/s",
            lines: [
              { label: "through the relay", points: byBlock(relayed) },
              { label: "called directly", points: byBlock(bare) },
            ],
          },
        ],
      };
    } finally {
      await direct?.close();
      await rig.stop();
    }
  },
};
