import { BLOCK_FRAMES, type Case, type Figure } from "../case.ts";
import { median } from "../statistics.ts";

const SIZE = { width: 640, height: 360 };
const BITRATE_KBPS = 2000;
/** A run whose time is mostly start-up; it is subtracted from a longer one. */
const SHORT_RUN = 10;

const source = (frames: number): string =>
  `videotestsrc num-buffers=${frames} pattern=smpte horizontal-speed=4 ! ` +
  `video/x-raw,format=BGRx,width=${SIZE.width},height=${SIZE.height},framerate=30/1`;

/** What follows the source. */
const VARIANTS = {
  alone: "fakesink",
  vsockenc: `vsockenc bitrate=${BITRATE_KBPS} ! fakesink`,
  openh264enc: `videoconvert ! openh264enc bitrate=${BITRATE_KBPS * 1000} complexity=low ! fakesink`,
} as const;

type Variant = keyof typeof VARIANTS;

/** The same pictures, encoded in the guest and by the host. */
export const vmGuestEncoder: Case = {
  name: "vm-guest-encoder",
  what: "a frame with vsockenc, against openh264enc in the same guest",
  inVm: true,
  async run({ frames, encoder, vm }) {
    const bench = await vm();
    const seconds = async (variant: Variant, count: number): Promise<number> => {
      const pipeline = `gst-launch-1.0 -q ${source(count)} ! ${VARIANTS[variant]}`;
      return Number(await bench.vm.succeed(`TIMEFORMAT=%R; { time ${pipeline} 2>/tmp/log >&2; } 2>&1`));
    };
    const milliseconds = async (variant: Variant): Promise<number> => {
      const long = await seconds(variant, SHORT_RUN + BLOCK_FRAMES);
      return ((long - (await seconds(variant, SHORT_RUN))) * 1000) / BLOCK_FRAMES;
    };
    const times: Record<Variant, number[]> = { alone: [], vsockenc: [], openh264enc: [] };
    const rounds = Math.ceil(frames / BLOCK_FRAMES);
    for (let round = 0; round < rounds; round += 1) {
      for (const variant of Object.keys(VARIANTS) as Variant[])
        times[variant].push(await milliseconds(variant));
    }
    const alone = median(times.alone);
    const own = median(times.vsockenc);
    const other = median(times.openh264enc);
    const row = (what: string, own: number, other: number): Figure => ({
      ...{ what, unit: "ms/frame", measured: own, ratio: own / other },
      baseline: { what: "openh264enc in the guest", value: other },
      samples: rounds * BLOCK_FRAMES,
    });
    const { accelerator } = bench.vm;
    return {
      rows: [
        row(`640x360 in the guest (${accelerator}), vsockenc with ${encoder}, drawing included`, own, other),
        row(`the same, drawing apart (${alone.toFixed(1)} ms, measured alone)`, own - alone, other - alone),
      ],
      charts: [
        {
          file: "vm-guest-encoder",
          kind: "bars",
          title: `Time of a 640x360 frame in the guest (${accelerator}), drawing included`,
          yLabel: "ms",
          labels: ["drawing alone", `vsockenc (${encoder} on the host)`, "openh264enc in the guest"],
          series: [{ label: "median", values: [alone, own, other] }],
        },
      ],
    };
  },
};
