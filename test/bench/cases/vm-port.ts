import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { countersOf, dmabufsrc } from "../../support/counter.ts";
import { randomNumbers } from "../../support/random-numbers.ts";
import { until } from "../../support/until.ts";
import type { Case } from "../case.ts";
import { spread } from "../statistics.ts";

const SIZE = { width: 640, height: 480 };
const FRAMES = 150;
const RATE = 30;
/** The port goes after so many frames. */
const MOMENT = { first: 10, last: 60 };
const MOST_SECONDS = 2;
const PORT = { driver: "virtserialport", id: "port0", chardev: "vport0", name: "org.vsockenc.0" };
const START_CODE = Buffer.from([0, 0, 1]);
/** NAL unit headers of the encoder's slices. */
const [DELTA, KEY] = [0x41, 0x65];

/** Pictures in an H.264 byte stream that is still being written, and those of them that are key frames. */
function pictures(file: string): { all: number; keys: number } {
  if (!existsSync(file)) return { all: 0, keys: 0 };
  const bytes = readFileSync(file);
  let [deltas, keys] = [0, 0];
  for (let at = bytes.indexOf(START_CODE); at >= 0; at = bytes.indexOf(START_CODE, at + START_CODE.length)) {
    const header = bytes[at + START_CODE.length];
    deltas += Number(header === DELTA);
    keys += Number(header === KEY);
  }
  return { all: deltas + keys, keys };
}

/** The port of a guest that encodes, unplugged from QEMU and plugged in again. */
export const vmPort: Case = {
  name: "vm-port",
  what: "from the unplugging of a guest's port, which is plugged in again at once, to the next right picture",
  inVm: true,
  async run({ kills, seed, vm }) {
    const { vm: guest, outDir } = await vm();
    const file = join(outDir, "port.h264");
    const output = "h264parse ! filesink location=/out/port.h264 buffer-mode=unbuffered";
    const pipeline = dmabufsrc(
      SIZE,
      FRAMES,
      `vsockenc keyframe-interval=100000 ! ${output}`,
      `--allocator resource --format BGRx --fps ${RATE}`,
    );
    const random = randomNumbers(seed);
    const times: number[] = [];
    let [lost, wrong] = [0, 0];
    for (let kill = 0; kill < kills; kill += 1) {
      rmSync(file, { force: true });
      const job = guest.start(pipeline);
      const moment = MOMENT.first + random() * (MOMENT.last - MOMENT.first);
      await until(() => pictures(file).all > moment, "pictures before the port goes");
      const started = performance.now();
      const unplugged = guest.qmp.waitForEvent("DEVICE_DELETED");
      await guest.qmp.execute("device_del", { id: PORT.id });
      await unplugged;
      await guest.qmp.execute("device_add", PORT);
      await until(() => pictures(file).keys > 1, "the picture after the port's return");
      times.push(performance.now() - started);
      const { status, stderr } = await job.done;
      if (status !== 0) throw new Error(`the pipeline ended with status ${status}: ${stderr}`);
      const counters = countersOf(file, SIZE);
      lost += FRAMES - counters.length;
      wrong += counters.filter((counter, index) => counter !== index).length;
    }
    const worst = Math.max(...times);
    return {
      rows: [
        {
          what:
            `unplugging of the port at random moments (seed ${seed}) to the next right picture, a key frame; ` +
            `worst ${worst.toFixed(0)} ms; ${lost} frames of lossless pipelines lost; ${wrong} wrong`,
          unit: "ms",
          ...spread(times),
          bound: `≤ ${MOST_SECONDS} s each, none lost or wrong`,
          met: lost + wrong === 0 && worst <= MOST_SECONDS * 1000,
        },
      ],
    };
  },
};
