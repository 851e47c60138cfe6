/** A live stream, as the element sends it: what is late is replaced by what is new. */
import { LIMITS } from "../../../proto/limits.ts";
import type { BenchGuest } from "./guest.ts";

/** How long answers may come after the last frame. */
const LAST_MS = 1000;

export interface Live {
  /** Of the frames that were delivered, from the moment at which they were there, in ms. */
  readonly latencies: readonly number[];
  /** Why the stream ended before its last frame. */
  readonly failure?: string;
}

/** Sends `frames` frames at a rate; of those that are due while the host has as many as it is sent, the newest waits. */
export async function live(guest: BenchGuest, frames: number, framesPerSecond: number): Promise<Live> {
  const latencies: number[] = [];
  /** When the frames in flight were there, oldest first. */
  const flying: number[] = [];
  let waiting: number | undefined;
  const send = (): void => {
    if (waiting === undefined || guest.inFlight >= LIMITS.DEFAULT_IN_FLIGHT_FRAMES) return;
    guest.sendFrame();
    flying.push(waiting);
    waiting = undefined;
  };
  guest.onAnswered = () => {
    latencies.push(performance.now() - (flying.shift() ?? 0));
    send();
  };
  const started = performance.now();
  try {
    for (let frame = 0; frame < frames; frame += 1) {
      const due = started + (frame * 1000) / framesPerSecond;
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - performance.now())));
      waiting = performance.now();
      send();
    }
  } catch (error) {
    return { latencies, failure: error instanceof Error ? error.message : String(error) };
  }
  const end = performance.now() + LAST_MS;
  while (latencies.length < frames && performance.now() < end) {
    if (guest.inFlight === 0 && waiting === undefined) break;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  guest.onAnswered = () => {};
  return { latencies };
}
