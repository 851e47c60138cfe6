/**
 * How long something was under way that says when it was sent by the server's clock. Where that clock stands against the
 * page's is estimated as NTP does (RFC 5905, chapters 8 and 10): the server's answer to a ping was made about half a round
 * trip after the ping; of the latest ones the shortest round trip leaves the least room for doubt, half of itself.
 */

/** Round trips that are remembered, one a second; the clocks do not drift apart much meanwhile. */
const REMEMBERED = 16;

interface Reading {
  readonly roundTripMs: number;
  /** The page's clock less the server's. */
  readonly offsetMs: number;
}

export class ServerClock {
  #latest: readonly Reading[] = [];

  /** @param clockUs the server's, when it answered; the other two by the page's clock, in ms */
  answered(pingedAt: number, arrivedAt: number, clockUs: number): void {
    const reading = {
      roundTripMs: arrivedAt - pingedAt,
      offsetMs: (pingedAt + arrivedAt) / 2 - clockUs / 1000,
    };
    this.#latest = [...this.#latest, reading].slice(-REMEMBERED);
  }

  /** In ms; undefined before the first answer. */
  underway(sentUs: number, arrivedAt: number): number | undefined {
    const [first, ...others] = this.#latest;
    if (first === undefined) return undefined;
    const best = others.reduce((least, one) => (one.roundTripMs < least.roundTripMs ? one : least), first);
    return Math.max(arrivedAt - (sentUs / 1000 + best.offsetMs), 0);
  }
}
