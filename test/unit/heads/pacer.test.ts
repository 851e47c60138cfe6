import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Pacer } from "../../../host/heads/pacer.ts";

const INTERVAL_MS = 100;

describe("Pacer", () => {
  let made: (() => void)[];
  let pacer: Pacer;

  beforeEach(() => {
    vi.useFakeTimers();
    made = [];
    pacer = new Pacer(1000 / INTERVAL_MS, () => new Promise((resolve) => void made.push(resolve)));
  });
  afterEach(() => {
    pacer.stop();
    vi.useRealTimers();
  });

  const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

  it("makes one picture at a time, and one more for all changes meanwhile", async () => {
    for (let change = 0; change < 6; change += 1) pacer.changed();
    await pass(10 * INTERVAL_MS);
    expect(made).toHaveLength(1);
    made[0]?.();
    await pass(0);
    expect(made).toHaveLength(2);
    made[1]?.();
    await pass(10 * INTERVAL_MS);
    expect(made).toHaveLength(2);
    pacer.changed();
    expect(made).toHaveLength(3);
  });

  it("keeps to its rate, and merges the changes between two pictures", async () => {
    for (let change = 0; change < 40; change += 1) {
      pacer.changed();
      made.at(-1)?.();
      await pass(INTERVAL_MS / 10);
    }
    expect(made).toHaveLength(5);
  });

  it("makes a picture without a change on retry", async () => {
    pacer.retryAfter(5);
    await pass(4);
    expect(made).toHaveLength(0);
    await pass(1);
    expect(made).toHaveLength(1);
  });

  it("makes no picture after its end", async () => {
    pacer.changed();
    pacer.changed();
    pacer.stop();
    made[0]?.();
    pacer.changed();
    await pass(10 * INTERVAL_MS);
    expect(made).toHaveLength(1);
  });
});
