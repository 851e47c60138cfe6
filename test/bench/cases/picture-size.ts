import { BLOCK_FRAMES, blockCount, type Case, HD, UHD } from "../case.ts";
import { baselineOf, median, spread } from "../statistics.ts";
import { closedLoop } from "../support/load.ts";
import { pictureMemory, withRig } from "../support/rig.ts";

const RIG = { encoder: "null", guests: 2, pinned: true, memory: pictureMemory(HD) + pictureMemory(UHD) };

/** The design's first rule: nothing per frame depends on the picture's size, except the encoder's work. */
export const pictureSize: Case = {
  name: "picture-size",
  what: "time of a frame with the null encoder, 4K against 720p",
  run: ({ frames }) =>
    withRig(RIG, async (rig) => {
      const [small, large] = rig.guests;
      if (small === undefined || large === undefined) throw new Error("unreachable");
      await small.open(HD, rig.pictures(HD, false));
      await large.open(UHD, rig.pictures(UHD, false));
      const times = { small: [] as number[], large: [] as number[] };
      const ratios: number[] = [];
      await closedLoop(small, frames, 1);
      await closedLoop(large, frames, 1);
      for (let block = 0; block < blockCount(frames); block += 1) {
        const ofSmall = (await closedLoop(small, BLOCK_FRAMES, 1)).latencies;
        const ofLarge = (await closedLoop(large, BLOCK_FRAMES, 1)).latencies;
        times.small.push(...ofSmall);
        times.large.push(...ofLarge);
        ratios.push(median(ofLarge) / median(ofSmall));
      }
      const ratio = median(ratios);
      return {
        rows: [
          {
            what: "Frame to last byte of its packet, null encoder, 4K",
            unit: "µs",
            ...spread(times.large),
            baseline: baselineOf("at 720p", times.small),
            ratio,
            bound: "within 10 % of 720p",
            met: Math.abs(ratio - 1) <= 0.1,
          },
        ],
      };
    }),
};
