/** Ways to send frames: as fast as answers arrive, or at a rate. */
import { LIMITS } from "../../../proto/limits.ts";
import { HANG_MS } from "../../support/hang.ts";
import type { Answered, BenchGuest } from "./guest.ts";

/** Resolves when `guest` has received `frames` answers; `onEach` is called after each. */
function answers(guest: BenchGuest, frames: number, onEach: (answered: Answered) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const stalled = setTimeout(() => {
      const refusals = guest.received.flatMap((each) => (each.type === "error" ? [each.body.text] : []));
      reject(new Error(`no answers for ${HANG_MS} ms: ${refusals.join("; ") || "the relay is silent"}`));
    }, HANG_MS);
    let left = frames;
    guest.onAnswered = (answered) => {
      left -= 1;
      stalled.refresh();
      if (left === 0) {
        clearTimeout(stalled);
        resolve();
      }
      onEach(answered);
    };
  });
}

/**
 * Keeps `inFlight` frames with the relay until `frames` have been answered.
 *
 * @returns the latency of each frame in microseconds, and frames a second
 */
export async function closedLoop(guest: BenchGuest, frames: number, inFlight: number) {
  const latencies: number[] = [];
  let sent = 0;
  const send = (): void => {
    if (sent === frames) return;
    sent += 1;
    guest.sendFrame();
  };
  const done = answers(guest, frames, ({ microseconds }) => {
    latencies.push(microseconds);
    send();
  });
  const started = performance.now();
  for (let ahead = 0; ahead < inFlight; ahead += 1) send();
  await done;
  return { latencies, framesPerSecond: (frames * 1000) / (performance.now() - started) };
}

/** Sends `frames` frames at `framesPerSecond`; later where the relay still has as many as it takes. */
export async function paced(guest: BenchGuest, frames: number, framesPerSecond: number): Promise<void> {
  const done = answers(guest, frames, () => {});
  const started = performance.now();
  for (let frame = 0; frame < frames; frame += 1) {
    const due = started + (frame * 1000) / framesPerSecond;
    do await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - performance.now())));
    while (guest.inFlight >= LIMITS.MAX_IN_FLIGHT_FRAMES);
    guest.sendFrame();
  }
  await done;
}
