/**
 * Chooses the bit rate for all viewers of a source. One encode serves them all, so the slowest connection decides.
 *
 * Additive increase, multiplicative decrease: congestion lowers the rate at once by a quarter to a half, then it is held
 * until the effect shows; after some seconds without congestion it rises by a twentieth of the range per second.
 */

/** The limits of the bit rate, in kbit/s. */
export interface BitrateRange {
  readonly minKbps: number;
  readonly maxKbps: number;
}

/** One viewer's last second or so: from its Report and from the server. */
export interface ViewerObservation {
  readonly receivedKbps: number;
  /** Access units that were not sent, because the connection was too slow. */
  readonly skipped: number;
  readonly received: number;
  readonly painted: number;
  /** Not decoded, or decoded too late to be painted. */
  readonly dropped: number;
  readonly decodeQueue: number;
  readonly roundTripUs: number;
  /** This viewer's shortest so far. */
  readonly shortestRoundTripUs: number;
}

export interface BitrateState {
  readonly kbps: number;
  /** Consecutive decisions at which every viewer was clear. */
  readonly clear: number;
  /** Decisions until the next decrease is possible. */
  readonly hold: number;
}

/** Numbers of decisions, at one per second. */
const HOLD = 2;
const CLEAR_BEFORE_INCREASE = 4;
const STEPS = 20;
const DECREASE = 0.75;
const LARGEST_DECREASE = 0.5;
/** Share of the received rate that is used after congestion, to drain the queue. */
const OF_RECEIVED = 0.9;

/** A queue on the path lengthens the round trip; less than this is jitter. */
const QUEUED_US = 150_000;
/** Below this the path is clear; in between the rate is held. */
const CLEAR_US = 50_000;
const LONG_DECODE_QUEUE = 4;
const MAX_DROPPED_SHARE = 0.1;

export function initialBitrate(range: BitrateRange): BitrateState {
  return { kbps: range.maxKbps, clear: 0, hold: 0 };
}

/**
 * One decision, taken once a second.
 *
 * @param observations of the viewers that have reported since the last decision; without any, nothing changes
 */
export function nextBitrate(
  state: BitrateState,
  observations: readonly ViewerObservation[],
  range: BitrateRange,
): BitrateState {
  const active = observations.filter(isActive);
  if (active.length === 0) return state;
  const hold = Math.max(0, state.hold - 1);
  const congested = active.filter(isCongested);
  if (congested.length > 0) {
    if (hold > 0) return { kbps: state.kbps, clear: 0, hold };
    const factor = Math.min(...congested.map((viewer) => decreaseFactor(state.kbps, viewer)));
    return { kbps: clamp(state.kbps * factor, range), clear: 0, hold: HOLD };
  }
  if (!active.every(isClear)) return { kbps: state.kbps, clear: 0, hold };
  const clear = state.clear + 1;
  if (clear < CLEAR_BEFORE_INCREASE) return { kbps: state.kbps, clear, hold };
  const step = Math.ceil((range.maxKbps - range.minKbps) / STEPS);
  return { kbps: clamp(state.kbps + step, range), clear, hold };
}

/** A page in the background paints nothing, so it does not count unless its connection is congested. */
function isActive({ painted, skipped }: ViewerObservation): boolean {
  return painted > 0 || skipped > 0;
}

function isCongested(viewer: ViewerObservation): boolean {
  return (
    viewer.skipped > 0 ||
    viewer.roundTripUs > viewer.shortestRoundTripUs + QUEUED_US ||
    viewer.decodeQueue > LONG_DECODE_QUEUE ||
    viewer.dropped > viewer.received * MAX_DROPPED_SHARE
  );
}

function isClear(viewer: ViewerObservation): boolean {
  return viewer.roundTripUs < viewer.shortestRoundTripUs + CLEAR_US && viewer.dropped === 0;
}

/** Only on a full connection does the received rate show the capacity. */
function decreaseFactor(kbps: number, { skipped, receivedKbps }: ViewerObservation): number {
  const carried = skipped > 0 ? (receivedKbps * OF_RECEIVED) / kbps : DECREASE;
  return Math.min(DECREASE, Math.max(LARGEST_DECREASE, carried));
}

function clamp(kbps: number, { minKbps, maxKbps }: BitrateRange): number {
  return Math.round(Math.min(maxKbps, Math.max(minKbps, kbps)));
}
