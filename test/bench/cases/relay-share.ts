import { BLOCK_FRAMES, blockCount, type Case, type Findings, FULL_HD } from "../case.ts";
import { baselineOf, median, quantile, spread } from "../statistics.ts";
import { startEcho } from "../support/echo-client.ts";
import { closedLoop } from "../support/load.ts";
import { pictureMemory, withRig } from "../support/rig.ts";

const MOST_MICROSECONDS = 300;
const MOST_ECHOES = 2;

/** Round trips of a relay and of an echo over the same link, in microseconds. */
export interface RoundTrips {
  readonly relay: number[];
  readonly echo: number[];
}

/**
 * @param where "outside the VM"
 * @param chart name of its file, what the link is, and the percentiles to show
 */
export function shareFindings(
  { relay, echo }: RoundTrips,
  where: string,
  chart: { readonly file: string; readonly link: string; readonly percentiles: readonly number[] },
): Findings {
  const share = median(relay) - median(echo);
  const values = (times: readonly number[]) => chart.percentiles.map((each) => quantile(times, each / 100));
  return {
    rows: [
      {
        what: `round trip, null encoder, 1080p, ${where}`,
        unit: "µs",
        ...spread(relay),
        baseline: baselineOf("bare echo", echo),
        ratio: median(relay) / median(echo),
      },
      {
        what: `the relay's own share of it (difference of the medians), ${where}`,
        unit: "µs",
        measured: share,
        samples: relay.length,
        baseline: { what: "bare echo", value: median(echo) },
        ratio: share / median(echo),
        bound: `≤ ${MOST_MICROSECONDS} µs and ≤ ${MOST_ECHOES} × the bare echo`,
        met: share <= MOST_MICROSECONDS && share <= MOST_ECHOES * median(echo),
      },
    ],
    charts: [
      {
        file: chart.file,
        kind: "bars",
        title: `Round trip over a ${chart.link}: relay with the null encoder and bare echo`,
        yLabel: "µs",
        labels: chart.percentiles.map((each) => `p${each}`),
        series: [
          { label: "bare echo", values: values(echo) },
          { label: "relay", values: values(relay) },
        ],
      },
    ],
  };
}

/** The latency that the relay adds to its link. */
export const relayShare: Case = {
  name: "relay-share",
  what: "the relay's share of the latency, against a bare echo over the same kind of socket",
  run: ({ frames }) =>
    withRig({ encoder: "null", memory: pictureMemory(FULL_HD), pinned: true }, async (rig) => {
      await rig.guest.open(FULL_HD, rig.pictures(FULL_HD, false));
      await closedLoop(rig.guest, frames, 1);
      const client = await startEcho(rig.folder, rig.guest.lastExchange());
      const times: RoundTrips = { relay: [], echo: [] };
      try {
        await client.times(frames);
        for (let block = 0; block < blockCount(frames); block += 1) {
          times.relay.push(...(await closedLoop(rig.guest, BLOCK_FRAMES, 1)).latencies);
          times.echo.push(...(await client.times(BLOCK_FRAMES)));
        }
      } finally {
        await client.stop();
      }
      const chart = { file: "relay-share", link: "UNIX socket", percentiles: [50, 95, 99] };
      return shareFindings(times, "outside the VM", chart);
    }),
};
