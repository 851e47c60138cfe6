/**
 * Estimates the server's clock, and with it how long a message was under way, as NTP does (RFC 5905, chapters 8 and 10):
 * the server answered a ping about half a round trip after it was sent. The shortest of the latest round trips is used; the
 * error is at most half of it.
 */

/** Round trips that are kept, one a second; clock drift within them is negligible. */
const KEPT = 16;

interface Reading {
  readonly roundTripMs: number;
  /** The page's clock minus the server's. */
  readonly offsetMs: number;
}

export class ServerClock {
  #latest: readonly Reading[] = [];

  /** @param clockUs the server's, at its answer; the other two by the page's clock, in ms */
  answered(pingedAt: number, arrivedAt: number, clockUs: number): void {
    const offsetMs = (pingedAt + arrivedAt) / 2 - clockUs / 1000;
    this.#latest = [...this.#latest, { roundTripMs: arrivedAt - pingedAt, offsetMs }].slice(-KEPT);
  }

  /** In ms; undefined before the first answer. */
  underway(sentUs: number, arrivedAt: number): number | undefined {
    const [first, ...others] = this.#latest;
    if (first === undefined) return undefined;
    const best = others.reduce((least, one) => (one.roundTripMs < least.roundTripMs ? one : least), first);
    return Math.max(arrivedAt - (sentUs / 1000 + best.offsetMs), 0);
  }
}
