import { afterEach, describe, expect, it, vi } from "vitest";
import type { EncoderBackend, EncoderConfiguration, EncoderSession } from "../../../host/encoders/encoder.ts";
import { EncoderGate } from "../../../host/relay/encoder-gate.ts";
import { TimeShare } from "../../../host/relay/time-share.ts";
import { configurationOf } from "../encoders/support/encode.ts";

/** Encoders that open and close when the test says so. */
class SlowBackend implements EncoderBackend {
  readonly name = "slow";
  readonly opening: (() => void)[] = [];
  readonly closing: (() => void)[] = [];
  /** Open, opening and closing ones. */
  held = 0;
  most = 0;

  async offers() {
    return [];
  }

  async open(_configuration: EncoderConfiguration): Promise<EncoderSession> {
    this.held += 1;
    this.most = Math.max(this.most, this.held);
    await new Promise<void>((resolve) => this.opening.push(resolve));
    const close = async (): Promise<void> => {
      await new Promise<void>((resolve) => this.closing.push(resolve));
      this.held -= 1;
    };
    return { close } as EncoderSession;
  }

  /** Lets everything go on that can, until nothing waits. */
  async settle(): Promise<void> {
    for (let idle = 0; idle < 3; idle++) {
      await new Promise(setImmediate);
      for (const go of [...this.opening.splice(0), ...this.closing.splice(0)]) {
        idle = 0;
        go();
      }
    }
  }
}

const configuration = configurationOf();
const linkOf = (vm = new TimeShare()): EncoderGate => new EncoderGate(vm);
const ignore = (): void => undefined;
const wanted = (): boolean => true;

describe("a link's encoders", () => {
  it("are one at a time, closing ones included, however often a guest opens", async () => {
    const backend = new SlowBackend();
    const gate = linkOf();
    const use = async (): Promise<void> => {
      const session = await gate.open(backend, configuration, ignore, wanted);
      if (session !== undefined) await gate.close(session);
    };
    const uses = Array.from({ length: 50 }, use);
    await backend.settle();
    await Promise.all(uses);
    expect(backend).toMatchObject({ most: 1, held: 0 });
  });

  it("are not opened for a session that has ended while it waited", async () => {
    const backend = new SlowBackend();
    const gate = linkOf();
    const first = gate.open(backend, configuration, ignore, wanted);
    const others = Array.from({ length: 50 }, () => gate.open(backend, configuration, ignore, () => false));
    await backend.settle();
    const session = await first;
    if (session !== undefined) void gate.close(session);
    await backend.settle();
    expect(await Promise.all(others)).toEqual(others.map(() => undefined));
    const last = gate.open(backend, configuration, ignore, wanted);
    await backend.settle();
    expect(await last).toBeDefined();
    expect(backend.most).toBe(1);
  });

  it("are opened two at a time for all VMs, and one that fails to open holds nobody up", async () => {
    const backend = new SlowBackend();
    const failing = {
      ...backend,
      name: "failing",
      offers: backend.offers,
      open: () => Promise.reject(new Error("full")),
    };
    const gates = Array.from({ length: 8 }, () => linkOf());
    const opened = gates.map((gate) => gate.open(backend, configuration, ignore, wanted));
    await new Promise(setImmediate);
    expect(backend.held).toBe(2);
    await backend.settle();
    expect(await Promise.all(opened)).toHaveLength(8);
    expect(backend.held).toBe(8);
    const gate = linkOf();
    for (let count = 0; count < 3; count++) {
      await expect(gate.open(failing, configuration, ignore, wanted)).rejects.toThrow("full");
    }
    const next = gate.open(backend, configuration, ignore, wanted);
    await backend.settle();
    expect(await next).toBeDefined();
  });

  it("of one VM are opened one at a time, so another's does not wait for all its links", async () => {
    const backend = new SlowBackend();
    const vm = new TimeShare();
    const many = Array.from({ length: 20 }, () => linkOf(vm).open(backend, configuration, ignore, wanted));
    await new Promise(setImmediate);
    expect(backend.held).toBe(1);
    const other = linkOf().open(backend, configuration, ignore, wanted);
    await new Promise(setImmediate);
    expect(backend.held).toBe(2);
    await backend.settle();
    expect(await other).toBeDefined();
    expect(await Promise.all(many)).toHaveLength(20);
  });
});

describe("a VM's openings", () => {
  afterEach(() => void vi.useRealTimers());

  it("take all the time for a second, and then a quarter of it", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout"] });
    let now = 0;
    const vm = new TimeShare(() => now);
    let opened = 0;
    const open = async (): Promise<void> => {
      for (;;) {
        await vm.enter();
        opened += 1;
        now += 100;
        vm.leave();
      }
    };
    const pass = async (ms: number): Promise<void> => {
      now += ms;
      await vi.advanceTimersByTimeAsync(ms);
    };
    void open();
    await pass(0);
    // The burst, what the time of the burst itself adds, and the one that exceeds it.
    expect(opened).toBe(11);
    const before = opened;
    for (let step = 0; step < 400; step++) await pass(10);
    expect(opened - before).toBeGreaterThanOrEqual(9);
    expect(opened - before).toBeLessThanOrEqual(14);
  });
});
