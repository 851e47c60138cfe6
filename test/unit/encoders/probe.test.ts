/** How long a probe waits, with a process and a clock that the tests set. Real drivers that hang: fallback.test.ts. */
import { EventEmitter } from "node:events";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { NativeSettings } from "../../../host/encoders/native.ts";
import { type ProbeFailure, probeEncoder } from "../../../host/encoders/probe.ts";

class ProbeProcess extends EventEmitter {
  readonly connected = true;
  readonly send = vi.fn();
  readonly kill = vi.fn();
  readonly unref = vi.fn();
  readonly disconnect = vi.fn();

  answer(index: number): void {
    this.emit("message", { index });
  }
}

const processes = vi.hoisted(() => [] as unknown[]);
vi.mock("node:child_process", () => ({
  fork: () => {
    const process = new ProbeProcess();
    processes.push(process);
    return process;
  },
}));
const started = (): ProbeProcess[] => processes as ProbeProcess[];

beforeEach(() => {
  processes.length = 0;
  vi.useFakeTimers();
});
afterEach(() => vi.useRealTimers());

const settings = {} as NativeSettings;

/** Probes a card and libx264 in one process. @returns the results so far */
async function probeBoth(): Promise<Record<string, ProbeFailure | undefined | "works">> {
  const results: Record<string, ProbeFailure | undefined | "works"> = {};
  for (const [name, hardware] of [
    ["card", true],
    ["libx264", false],
  ] as const) {
    void probeEncoder(name, hardware, settings).then((failure) => {
      results[name] = failure ?? "works";
    });
  }
  await vi.advanceTimersByTimeAsync(0);
  expect(started()).toHaveLength(1);
  return results;
}

it("waits a minute for software on a busy machine, and then five seconds for hardware", async () => {
  const results = await probeBoth();
  await vi.advanceTimersByTimeAsync(59_000);
  expect(results).toEqual({});
  started()[0]?.answer(1);
  await vi.advanceTimersByTimeAsync(4999);
  expect(results).toEqual({ libx264: "works" });
  await vi.advanceTimersByTimeAsync(1);
  expect(results["card"]).toMatchObject({ reason: "card did not answer within 5 s when it was probed" });
});

it("asks each alone when neither has answered", async () => {
  const results = await probeBoth();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(started()).toHaveLength(3);
  expect(started()[0]?.kill).toHaveBeenCalledWith("SIGKILL");
  await vi.advanceTimersByTimeAsync(5000);
  expect(results["card"]).toMatchObject({ reason: expect.stringContaining("5 s") });
  started()[2]?.answer(0);
  await vi.advanceTimersByTimeAsync(0);
  expect(results["libx264"]).toBe("works");
});
