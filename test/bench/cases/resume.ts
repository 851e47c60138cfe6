import { until } from "../../support/until.ts";
import { type Case, HD, KEYFRAME_INTERVAL } from "../case.ts";
import { median, quantile } from "../statistics.ts";
import { closedLoop } from "../support/load.ts";
import { pictureMemory, Rig } from "../support/rig.ts";

const KILLS = 10;
const MOST_SECONDS = 2;

/** A relay that is killed in mid-stream and restarted at once, as its supervisor does. */
export const resume: Case = {
  name: "resume",
  what: "from kill -9 of the relay to the next packet",
  inVm: false,
  async run({ frames, encoder }) {
    const rig = new Rig({ encoder, memory: pictureMemory(HD) });
    try {
      const pictures = rig.pictures({ ...HD, drawn: true });
      await rig.guest.open(HD, pictures, KEYFRAME_INTERVAL);
      const times: number[] = [];
      let keys = 0;
      // Fewer in a quick run, where kills take most of the time.
      const kills = Math.min(KILLS, Math.ceil(frames / 10));
      for (let kill = 0; kill < kills; kill += 1) {
        await closedLoop(rig.guest, 20, 2);
        rig.guest.sendFrame();
        const killed = performance.now();
        rig.relay.kill("SIGKILL");
        await rig.relay.ended();
        rig.relay.start();
        await until(() => !rig.guest.connected, "the end of the old connection");
        await rig.guest.open(HD, pictures, KEYFRAME_INTERVAL);
        const first = new Promise<boolean>((resolve) => {
          rig.guest.onAnswered = ({ key }) => resolve(key);
        });
        rig.guest.sendFrame();
        keys += (await first) ? 1 : 0;
        times.push((performance.now() - killed) / 1000);
      }
      return {
        rows: [
          {
            name: this.name,
            what: `from kill -9 of the relay to the next packet, ${encoder}; a key frame ${keys} times`,
            unit: "s",
            measured: median(times),
            p95: quantile(times, 0.95),
            samples: times.length,
            bound: `≤ ${MOST_SECONDS} s, a key frame`,
            met: Math.max(...times) <= MOST_SECONDS && keys === times.length,
          },
        ],
      };
    } finally {
      await rig.stop();
    }
  },
};
