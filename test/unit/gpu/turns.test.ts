/**
 * A full ring is carried out in turns, and everything else is handled between two of them. The clock advances with each
 * command, and the event loop's next iteration, where the next turn is, comes when a test says so.
 */
import { afterEach, describe, expect, it, vi } from "vitest";
import { GpuDevice } from "../../../host/gpu/device.ts";
import { GPU_LIMITS } from "../../../host/gpu/limits.ts";
import { Vring } from "../../../host/gpu/vring.ts";
import {
  attach,
  create,
  descriptorBytes,
  detach,
  exportResource,
  front,
  gpuCommand,
  HIGH_ADDRESS,
  NEXT,
  state,
  useFrontEnd,
  WRITE,
} from "./front-end.ts";
import { until } from "./vhost-socket.ts";

const OK = 0x1100;
const GET_FEATURES = 1;
const GET_VRING_BASE = 11;
const SET_VRING_ENABLE = 18;
/** Chains of two descriptors that the control ring has room for. */
const CHAINS = 32;
const DESCRIPTORS = 0x1000;
const COMMANDS = 0x10_0000;
const COMMAND_BYTES = 0x100;
const ANSWERS = 0x12_0000;
const HEADER_BYTES = 24;
/** Where the longest command is. */
const LONGEST = HIGH_ADDRESS + 0x10_0000;

/** Chains made available, and commands carried out, since the device was prepared. */
let queued: number;
let executed: number;
/** Called after each command of the control queue. */
let onExecuted: () => void;

useFrontEnd(async (starting) => {
  await starting.negotiate();
  await exportResource(starting);
  [queued, executed] = [0, 0];
  onExecuted = () => undefined;
});
// Before the front end closes: clean-up runs in reverse order.
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

/** From now on this number of commands, a power of two, fills a turn, and iterate() starts the next one. */
function countTurns(commandsPerTurn: number): void {
  // Whole, so that sums are exact.
  let now = Math.ceil(performance.now());
  vi.spyOn(performance, "now").mockImplementation(() => now);
  vi.useFakeTimers({ toFake: ["setImmediate"] });
  const { control } = GpuDevice.prototype;
  vi.spyOn(GpuDevice.prototype, "control").mockImplementation(function (this: GpuDevice, command) {
    executed++;
    now += GPU_LIMITS.RING_TURN_MS / commandsPerTurn;
    const outcome = control.call(this, command);
    onExecuted();
    return outcome;
  });
}

/** One iteration of the event loop. */
const iterate = (): void => void vi.runOnlyPendingTimers();

/** Makes a chain with the command at an address available, without a kick. */
function queueAt(address: number, length: number): void {
  const slot = queued++ % CHAINS;
  const command = { address, length, flags: NEXT, next: 2 * slot + 1 };
  const answer = { address: ANSWERS + slot * HEADER_BYTES, length: HEADER_BYTES, flags: WRITE, next: 0 };
  front.write(DESCRIPTORS + 2 * slot * 16, Buffer.concat([command, answer].map(descriptorBytes)));
  front.queue(0, [], 2 * slot);
}

function queue(command: Buffer): void {
  const address = COMMANDS + (queued % CHAINS) * COMMAND_BYTES;
  front.write(address, command);
  queueAt(address, command.length);
}

/** GET_DISPLAY_INFO with a fence. */
const fenced = (fence: number): Buffer => gpuCommand(0x100, [], BigInt(fence));

/** Fills the ring with commands that have the fences 1, 2, 3 …, and has the device begin. */
async function fill(): Promise<void> {
  for (let fence = 1; fence <= CHAINS; fence++) queue(fenced(fence));
  front.kick(0);
  await until("the first turn", () => executed > 0);
}

/** Fences of the answers since `first` of the used ring, in its order. */
function fences(first: number): number[] {
  return Array.from({ length: (front.usedIndex(0) - first) & 0xffff }, (_, i) => {
    const head = front.usedEntry(0, first + i).readUInt32LE(0);
    return Number(front.read(ANSWERS + (head / 2) * HEADER_BYTES + 8, 8).readBigUInt64LE(0));
  });
}

const ALL_FENCES = Array.from({ length: CHAINS }, (_, i) => i + 1);

describe("a ring full of the longest commands", () => {
  it("does not delay a request of the front end by more than a turn", async () => {
    // Issue 13's attack: the same backing attached and detached, one command a turn, if it takes as long as one.
    const longest = attach(
      5,
      Array.from({ length: GPU_LIMITS.BACKING_ENTRIES }, (_, i) => [(i % 2) * 8192, 4096] as const),
    );
    front.write(LONGEST, longest);
    await front.answer(detach(5));
    const first = front.usedIndex(0);
    countTurns(1);
    for (let i = 0; i < CHAINS; i += 2) {
      queueAt(LONGEST, longest.length);
      queue(detach(5));
    }
    front.kick(0);
    await until("the first turn", () => executed > 0);
    for (let turns = 1; turns <= CHAINS; turns++) {
      expect(executed).toBe(turns);
      expect(front.usedIndex(0)).toBe(first + turns);
      expect(await front.ask(GET_FEATURES)).toHaveLength(8);
      expect(executed).toBe(turns);
      iterate();
    }
    expect(executed).toBe(CHAINS);
    const answers = Array.from({ length: CHAINS }, (_, i) => front.read(ANSWERS + i * HEADER_BYTES, 4));
    expect(new Set(answers.map((answer) => answer.readUInt32LE(0)))).toEqual(new Set([OK]));
  });
});

describe("a turn", () => {
  it("ends after its time, also when the driver kicks again", async () => {
    const first = front.usedIndex(0);
    countTurns(4);
    await fill();
    expect(executed).toBe(4);
    front.kick(0);
    await front.roundTrip();
    expect(executed).toBe(4);
    for (let turns = 2; turns <= CHAINS / 4; turns++) {
      iterate();
      expect(executed).toBe(4 * turns);
    }
    expect(fences(first)).toEqual(ALL_FENCES);
  });

  it("calls the driver for what it has answered", async () => {
    const [call] = front.calls;
    if (call === undefined) throw new Error("no doorbell");
    front.drain(call);
    countTurns(4);
    // used_event, behind the available ring's 64 entries: the driver waits for the first answer of this test.
    const wanted = Buffer.alloc(2);
    wanted.writeUInt16LE(front.usedIndex(0));
    front.write(0x2000 + 4 + 64 * 2, wanted);
    await fill();
    expect(executed).toBe(4);
    expect(front.drain(call)).toBeGreaterThan(0);
  });

  it("of one ring does not delay the other", async () => {
    countTurns(1);
    await fill();
    const position = gpuCommand(0x301, [0, 10, 10, 0, 0, 0, 0, 0]);
    expect(await front.answer(position, 1)).toBe(OK);
    expect(executed).toBe(1);
  });

  it("is followed by another for what comes while it lasts, without a kick", async () => {
    countTurns(4);
    onExecuted = () => {
      if (queued < 2 * CHAINS) queue(fenced(queued + 1));
    };
    queue(fenced(1));
    front.kick(0);
    await until("the first turn", () => executed > 0);
    expect(executed).toBe(4);
    for (let turns = 2; turns <= (2 * CHAINS) / 4; turns++) iterate();
    expect(executed).toBe(2 * CHAINS);
    iterate();
    // The driver has to kick again: avail_event, behind the used ring's 64 entries, is the available index.
    const availableIndex = front.read(0x2000 + 2, 2).readUInt16LE(0);
    expect(front.read(0x3000 + 4 + 64 * 8, 2).readUInt16LE(0)).toBe(availableIndex);
  });
});

describe("a relay's look-up", () => {
  it("waits for the commands before it, and for no others", async () => {
    const client = await front.client();
    const settling = vi.spyOn(Vring.prototype, "whenSettled");
    const lookUp = vi.spyOn(GpuDevice.prototype, "resource");
    countTurns(2);
    // A driver that queues another command for each that is carried out.
    onExecuted = () => {
      if (queued < 4 * CHAINS) queue(fenced(queued));
    };
    for (let i = 0; i < 8; i++) queue(create(100 + i));
    front.kick(0);
    await until("the first turn", () => executed > 0);
    expect(executed).toBe(2);
    const acquired = client.acquire(105);
    await until("the request", () => settling.mock.calls.length > 0);
    // Eight were in the ring then.
    while (executed < 10) {
      expect(lookUp).not.toHaveBeenCalled();
      iterate();
    }
    expect(executed).toBe(10);
    expect(lookUp).toHaveBeenCalledExactlyOnceWith(105);
    const refused = expect(acquired).rejects.toMatchObject({ code: "RESOURCE_WITHOUT_BACKING" });
    onExecuted = () => undefined;
    await until("the end of the commands", () => {
      iterate();
      return executed === queued;
    });
    await refused;
  });

  it("is answered at once when the ring is disabled or stopped with commands in it", async () => {
    const client = await front.client();
    countTurns(1);
    await fill();
    const settling = vi.spyOn(Vring.prototype, "whenSettled");
    const lookUp = vi.spyOn(GpuDevice.prototype, "resource");
    const first = client.acquire(5);
    await until("the request", () => settling.mock.calls.length === 1);
    expect(lookUp).not.toHaveBeenCalled();
    await front.acknowledged(SET_VRING_ENABLE, state(0, 0));
    iterate();
    expect(lookUp).toHaveBeenCalledTimes(1);
    expect(executed).toBe(1);
    await front.stopDevice();
    const second = client.acquire(5);
    await until("the answers", () => {
      iterate();
      return lookUp.mock.calls.length === 2;
    });
    expect(executed).toBe(1);
    vi.useRealTimers();
    expect((await first).generation).toBe((await second).generation);
  });
});

describe("a ring that is stopped between two turns", () => {
  it.each([1, 2, 8])("loses no command and does none twice: %i a turn", async (commandsPerTurn) => {
    const first = front.usedIndex(0);
    countTurns(commandsPerTurn);
    await fill();
    while (executed < CHAINS) {
      const before = executed;
      const [stoppedAt] = await front.stopDevice();
      iterate();
      expect(stoppedAt).toBe(first + before);
      expect(front.usedIndex(0)).toBe(first + before);
      expect(executed).toBe(before);
      await front.startDevice({ bases: [stoppedAt ?? 0, 0] });
      iterate();
      expect(executed).toBeGreaterThan(before);
      expect(executed - before).toBeLessThanOrEqual(2 * commandsPerTurn);
    }
    expect(executed).toBe(CHAINS);
    expect(fences(first)).toEqual(ALL_FENCES);
  });

  it("continues where it was when it is only disabled and enabled", async () => {
    const first = front.usedIndex(0);
    countTurns(4);
    await fill();
    await front.acknowledged(SET_VRING_ENABLE, state(0, 0));
    iterate();
    front.kick(0);
    await front.roundTrip();
    expect(executed).toBe(4);
    await front.acknowledged(SET_VRING_ENABLE, state(0, 1));
    while (executed < CHAINS) iterate();
    expect(fences(first)).toEqual(ALL_FENCES);
  });

  it("is stopped without being disabled as well", async () => {
    const first = front.usedIndex(0);
    countTurns(4);
    await fill();
    const base = (await front.ask(GET_VRING_BASE, state(0, 0))).readUInt32LE(4);
    iterate();
    expect(executed).toBe(4);
    expect(base).toBe(first + 4);
  });

  it("has nothing left to do after a reset", async () => {
    countTurns(4);
    await fill();
    await front.stopDevice();
    front.send(34);
    await front.ask(GET_FEATURES);
    iterate();
    expect(executed).toBe(4);
    front.clearRings();
    await front.startDevice();
    expect(await front.answer(create(5))).toBe(OK);
  });
});
