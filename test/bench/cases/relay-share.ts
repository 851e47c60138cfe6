import { BLOCK_FRAMES, blockCount, type Case, FULL_HD, KEYFRAME_INTERVAL } from "../case.ts";
import type { Row } from "../report.ts";
import { median, quantile } from "../statistics.ts";
import { leaveLastCore } from "../support/cores.ts";
import { EchoClient } from "../support/echo-client.ts";
import { closedLoop } from "../support/load.ts";
import { pictureMemory, Rig } from "../support/rig.ts";

const MOST_MICROSECONDS = 300;
const MOST_ECHOES = 2;

/**
 * The rows for a relay's and an echo's round trips over the same link.
 *
 * @param where "outside the VM"
 */
export function shareRows(
  name: string,
  where: string,
  relay: readonly number[],
  echo: readonly number[],
): Row[] {
  const share = median(relay) - median(echo);
  const common = { name, samples: relay.length };
  return [
    {
      ...common,
      what: `round trip, null encoder, 1080p, ${where}`,
      unit: "µs",
      measured: median(relay),
      p95: quantile(relay, 0.95),
      baseline: { what: "bare echo", value: median(echo), p95: quantile(echo, 0.95) },
      ratio: median(relay) / median(echo),
    },
    {
      ...common,
      what: `the relay's own share of it (difference of the medians), ${where}`,
      unit: "µs",
      measured: share,
      baseline: { what: "bare echo", value: median(echo) },
      ratio: share / median(echo),
      bound: `≤ ${MOST_MICROSECONDS} µs and ≤ ${MOST_ECHOES} × the bare echo`,
      met: share <= MOST_MICROSECONDS && share <= MOST_ECHOES * median(echo),
    },
  ];
}

/** The latency that the relay adds to its link. */
export const relayShare: Case = {
  name: "relay-share",
  what: "the relay's share of the latency, against a bare echo over the same kind of socket",
  inVm: false,
  async run({ frames }) {
    const rig = new Rig({ encoder: "null", memory: pictureMemory(FULL_HD), pinned: true });
    const restore = leaveLastCore();
    const { guest } = rig;
    let echo: EchoClient | undefined;
    try {
      await guest.open(FULL_HD, rig.pictures({ ...FULL_HD, drawn: false }), KEYFRAME_INTERVAL);
      await closedLoop(guest, frames, 1);
      const exchange = { request: guest.lastFrameBytes, answer: Buffer.concat(guest.answerBytes) };
      echo = await EchoClient.start(rig.folder, exchange);
      await echo.times(frames);
      const relayTimes: number[] = [];
      const echoTimes: number[] = [];
      for (let block = 0; block < blockCount(frames); block += 1) {
        relayTimes.push(...(await closedLoop(guest, BLOCK_FRAMES, 1)).latencies);
        echoTimes.push(...(await echo.times(BLOCK_FRAMES)));
      }
      const percentiles = (times: readonly number[]) => [
        median(times),
        quantile(times, 0.95),
        quantile(times, 0.99),
      ];
      return {
        rows: shareRows(this.name, "outside the VM", relayTimes, echoTimes),
        charts: [
          {
            file: "relay-share",
            kind: "bars",
            title: "Round trip over a UNIX socket: relay with the null encoder and bare echo",
            yLabel: "µs",
            labels: ["p50", "p95", "p99"],
            series: [
              { label: "bare echo", values: percentiles(echoTimes) },
              { label: "relay", values: percentiles(relayTimes) },
            ],
          },
        ],
      };
    } finally {
      restore();
      await echo?.stop();
      await rig.stop();
    }
  },
};
