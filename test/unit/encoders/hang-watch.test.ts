/** When a driver hangs, by a clock that the tests set. */
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { HangWatch } from "../../../host/encoders/hang-watch.ts";

let isOwed: boolean;
let hangs: number[];
let watch: HangWatch;
beforeEach(() => {
  vi.useFakeTimers();
  isOwed = true;
  hangs = [];
  watch = new HangWatch(
    () => isOwed,
    (seconds) => hangs.push(seconds),
  );
});
afterEach(() => void vi.useRealTimers());

it("a driver hangs that answers nothing for five seconds, whatever else it is asked for", () => {
  for (let second = 0; second < 5; second++) {
    expect(hangs).toEqual([]);
    watch.asked();
    vi.advanceTimersByTime(1000);
  }
  vi.advanceTimersByTime(60_000);
  expect(hangs).toEqual([5]);
});

it("a driver does not hang that answers now and then, or owes nothing", () => {
  watch.asked();
  for (let count = 0; count < 10; count++) {
    vi.advanceTimersByTime(4500);
    watch.answered();
  }
  isOwed = false;
  vi.advanceTimersByTime(60_000);
  isOwed = true;
  watch.asked();
  vi.advanceTimersByTime(4500);
  expect(hangs).toEqual([]);
});
