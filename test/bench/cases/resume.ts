import { until } from "../../support/until.ts";
import { type Case, HD } from "../case.ts";
import { spread } from "../statistics.ts";
import { closedLoop } from "../support/load.ts";
import { pictureMemory, withRig } from "../support/rig.ts";

const KILLS = 10;
const MOST_SECONDS = 2;

/** A relay that is killed in mid-stream and restarted at once, as its supervisor does. */
export const resume: Case = {
  name: "resume",
  what: "from kill -9 of the relay to the next packet",
  run: ({ frames, encoder }) =>
    withRig({ encoder, memory: pictureMemory(HD) }, async ({ guest, relay, pictures }) => {
      const drawn = pictures(HD, true);
      await guest.open(HD, drawn);
      const times: number[] = [];
      let keys = 0;
      // Fewer in a quick run, where kills take most of the time.
      const kills = Math.min(KILLS, Math.ceil(frames / 10));
      for (let kill = 0; kill < kills; kill += 1) {
        await closedLoop(guest, 20, 2);
        guest.sendFrame();
        const killed = performance.now();
        relay.kill("SIGKILL");
        await relay.ended();
        relay.start();
        await until(() => !guest.connected, "the end of the old connection");
        await guest.open(HD, drawn);
        const first = new Promise<boolean>((resolve) => {
          guest.onAnswered = ({ key }) => resolve(key);
        });
        guest.sendFrame();
        keys += (await first) ? 1 : 0;
        times.push((performance.now() - killed) / 1000);
      }
      return {
        rows: [
          {
            what: `from kill -9 of the relay to the next packet, ${encoder}; a key frame ${keys} times`,
            unit: "s",
            ...spread(times),
            bound: `≤ ${MOST_SECONDS} s, a key frame`,
            met: Math.max(...times) <= MOST_SECONDS && keys === times.length,
          },
        ],
      };
    }),
};
