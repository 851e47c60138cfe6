/**
 * Shares the one thread of this process between peers.
 *
 * What a peer sends is processed as it arrives. A peer that has used up its time waits while all others go on: in each
 * iteration of the event loop one of those that wait gets a turn, in order.
 *
 * With rests, this process leaves its processor to others before it serves those that wait, for three times as long as the
 * last turn took: a peer that floods it takes a quarter of a processor, in pieces of a turn.
 */

/** A peer with work in small steps. */
export interface TurnTaker {
  /** Does one step; false if there is none to do now. Does not throw. */
  step(): boolean;
  /** A turn is over; with `waits` there is more to do, and another turn follows. */
  afterTurn(waits: boolean): void;
}

export interface TurnOptions {
  /** Whether this process rests between turns. Default false. */
  readonly rests?: boolean;
  /** A clock in ms. */
  readonly now?: () => number;
}

export const REST_FACTOR = 3;
/** A step may take long once, such as one in which code is compiled. */
export const MAX_REST_MS = 25;

export class Turns {
  readonly #turnMs: number;
  readonly #rests: boolean;
  readonly #now: () => number;
  /** In this iteration of the event loop, in ms. */
  readonly #spent = new Map<TurnTaker, number>();
  /** In the order of their turns. */
  readonly #waiting = new Set<TurnTaker>();
  #scheduled = false;
  /** Of the turns since the last rest that were used up, the longest. */
  #restMs = 0;

  /**
   * @param turnMs time of a peer in one iteration of the event loop; a step that has begun is finished
   */
  constructor(turnMs: number, { rests = false, now = () => performance.now() }: TurnOptions = {}) {
    this.#turnMs = turnMs;
    this.#rests = rests;
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
    if (more) {
      this.#waiting.add(peer);
      if (this.#rests) this.#restMs = Math.max(this.#restMs, spent);
    }
    peer.afterTurn(more);
  }

  #nextIteration(): void {
    this.#spent.clear();
    const [next] = this.#waiting;
    const rest = this.#restMs;
    this.#restMs = 0;
    if (next !== undefined && rest > 0) {
      setTimeout(() => this.#nextIteration(), Math.min(REST_FACTOR * rest, MAX_REST_MS));
      return;
    }
    this.#scheduled = false;
    if (next === undefined) return;
    this.#waiting.delete(next);
    this.#turn(next);
  }
}
