/**
 * Which bit rate the viewers' lines carry: one encode serves them all, so the worst line decides.
 *
 * Additive increase, multiplicative decrease: down at once by a quarter to a half, then nothing for a while, so that
 * the effect is seen before the next step; up by a twentieth of the range after some seconds without any complaint.
 */

/** Within what the bit rate may be set, in kbit/s. */
export interface BitrateRange {
  readonly minKbps: number;
  readonly maxKbps: number;
}

/** How one viewer fared in the last second or so: from its Report, and from what the server saw. */
export interface ViewerObservation {
  /** Bytes that arrived, as a rate. */
  readonly receivedKbps: number;
  /** Access units that it was spared because they could not be sent in time. */
  readonly skipped: number;
  readonly received: number;
  readonly painted: number;
  /** Decoded too late to be painted, or not decoded at all. */
  readonly dropped: number;
  readonly decodeQueue: number;
  readonly roundTripUs: number;
  /** The shortest round trip of this viewer so far. */
  readonly shortestRoundTripUs: number;
}

export interface BitrateState {
  readonly kbps: number;
  /** Consecutive decisions at which every viewer was clear. */
  readonly clear: number;
  /** Decisions until the next decrease is possible. */
  readonly hold: number;
}

/** Decisions, at one a second. */
const HOLD = 2;
const CLEAR_BEFORE_INCREASE = 4;
const STEPS = 20;
const DECREASE = 0.75;
const LARGEST_DECREASE = 0.5;
/** What a line has shown to carry, less something for what waits already. */
const OF_RECEIVED = 0.9;

/** A queue in the way of the picture makes the round trip longer; less than this is jitter. */
const QUEUED_US = 150_000;
/** Beyond this, clear of any doubt; in between nothing is changed. */
const CLEAR_US = 50_000;
const LONG_DECODE_QUEUE = 4;
const MAX_DROPPED_SHARE = 0.1;

export function initialBitrate(range: BitrateRange): BitrateState {
  return { kbps: range.maxKbps, clear: 0, hold: 0 };
}

/**
 * One decision, to be taken once a second.
 *
 * @param observations of the viewers that have reported since the last one; none leaves everything as it is
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

/** A page in the background paints nothing and says nothing about its line, unless the line itself is jammed. */
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

/** Only a line that is full tells by what it received how much it carries. */
function decreaseFactor(kbps: number, { skipped, receivedKbps }: ViewerObservation): number {
  const carried = skipped > 0 ? (receivedKbps * OF_RECEIVED) / kbps : DECREASE;
  return Math.min(DECREASE, Math.max(LARGEST_DECREASE, carried));
}

function clamp(kbps: number, { minKbps, maxKbps }: BitrateRange): number {
  return Math.round(Math.min(maxKbps, Math.max(minKbps, kbps)));
}
