/**
 * Shares the one thread of this process between peers.
 *
 * What a peer sends is processed as it arrives. A peer that has used up its time waits while all others go on: in each
 * iteration of the event loop one of those that wait gets a turn, in order.
 */

/** A peer with work in small steps. */
export interface TurnTaker {
  /** Does one step; false if there is none to do now. Does not throw. */
  step(): boolean;
  /** A turn is over; with `waits` there is more to do, and another turn follows. */
  afterTurn(waits: boolean): void;
}

export class Turns {
  readonly #turnMs: number;
  readonly #now: () => number;
  /** In this iteration of the event loop, in ms. */
  readonly #spent = new Map<TurnTaker, number>();
  /** In the order of their turns. */
  readonly #waiting = new Set<TurnTaker>();
  #scheduled = false;

  /**
   * @param turnMs time of a peer in one iteration of the event loop; a step that has begun is finished
   * @param now a clock in ms
   */
  constructor(turnMs: number, now: () => number = () => performance.now()) {
    this.#turnMs = turnMs;
    this.#now = now;
  }

  /** Does a peer's steps until none is left or its time is over. One that waits already has to wait. */
  run(peer: TurnTaker): void {
    if (!this.#waiting.has(peer)) this.#turn(peer);
  }

  #turn(peer: TurnTaker): void {
    if (!this.#scheduled) setImmediate(() => this.#nextIteration());
    this.#scheduled = true;
    const start = this.#now() - (this.#spent.get(peer) ?? 0);
    let more: boolean;
    let spent: number;
    do {
      more = peer.step();
      spent = this.#now() - start;
    } while (more && spent < this.#turnMs);
    this.#spent.set(peer, spent);
    if (more) this.#waiting.add(peer);
    peer.afterTurn(more);
  }

  #nextIteration(): void {
    this.#spent.clear();
    this.#scheduled = false;
    const [next] = this.#waiting;
    if (next === undefined) return;
    this.#waiting.delete(next);
    this.#turn(next);
  }
}
