import { BLOCK_FRAMES, blockCount, type Case, HD, KEYFRAME_INTERVAL, UHD } from "../case.ts";
import { median, quantile } from "../statistics.ts";
import { leaveLastCore } from "../support/cores.ts";
import { closedLoop } from "../support/load.ts";
import { pictureMemory, Rig } from "../support/rig.ts";

/** The design's first rule: nothing per frame depends on the picture's size, except the encoder's work. */
export const pictureSize: Case = {
  name: "picture-size",
  what: "time of a frame with the null encoder, 4K against 720p",
  inVm: false,
  async run({ frames }) {
    const rig = new Rig({
      ...{ encoder: "null", guests: 2, pinned: true },
      memory: pictureMemory(HD) + pictureMemory(UHD),
    });
    const restore = leaveLastCore();
    try {
      const [small, large] = rig.guests;
      if (small === undefined || large === undefined) throw new Error("unreachable");
      await small.open(HD, rig.pictures({ ...HD, drawn: false }), KEYFRAME_INTERVAL);
      await large.open(UHD, rig.pictures({ ...UHD, drawn: false }), KEYFRAME_INTERVAL);
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
            name: this.name,
            what: "Frame to last byte of its packet, null encoder, 4K",
            unit: "µs",
            measured: median(times.large),
            p95: quantile(times.large, 0.95),
            baseline: { what: "at 720p", value: median(times.small), p95: quantile(times.small, 0.95) },
            ratio,
            samples: times.large.length,
            bound: "within 10 % of 720p",
            met: Math.abs(ratio - 1) <= 0.1,
          },
        ],
      };
    } finally {
      restore();
      await rig.stop();
    }
  },
};
