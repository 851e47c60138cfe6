/** Peers that share the thread: turns, exceptions, and what is left of a peer that leaves. */
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Turns } from "../../../common/turns.ts";
import { HxfrServer } from "../../../host/relay/hxfr-session.ts";
import { type SessionHandler, type SessionOutput, SessionServer } from "../../../host/relay/session.ts";
import { SessionPeer } from "../../../host/relay/session-peer.ts";
import { TURN_MS } from "../../../host/relay/turns.ts";
import { encodeMessage } from "../../../proto/framing.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { vsockenc } from "../../../proto/protobuf.ts";
import { GuestPeer } from "../../support/guest-peer.ts";
import { helixFrame, helixPing } from "../../support/helix-element.ts";
import { MemoryConnection } from "../../support/memory-connection.ts";

let lines: Record<string, unknown>[];
const log = pino({ level: "info" }, { write: (line) => lines.push(JSON.parse(line)) });
const idle: SessionHandler = { receive: () => undefined, end: () => undefined };

beforeEach(() => {
  vi.useFakeTimers();
  lines = [];
});
afterEach(() => vi.useRealTimers());

/** A clock that only steps move: each look at it takes as long as the last message did. */
class StepClock {
  #now = 0;
  stepMs = TURN_MS / 4;

  readonly now = (): number => {
    this.#now += this.stepMs;
    return this.#now;
  };
}

/** A guest on a link of its own. */
class PeerBench {
  readonly connection = new MemoryConnection((piece) => this.guest.push(piece));
  readonly guest = new GuestPeer((bytes) => this.connection.receive(bytes));
  readonly peer: SessionPeer;
  gone = 0;

  constructor(turns: Turns, open: (output: SessionOutput) => SessionHandler = () => idle) {
    const server = new SessionServer({ hostBootId: 1, welcome: () => ({}), open, log });
    this.peer = new SessionPeer({
      ...{ connection: this.connection, server, kind: "chardev", rejectHelix: false, log, turns },
      onGone: () => {
        this.gone += 1;
      },
    });
    this.peer.open();
  }

  get pongs(): number {
    return this.guest.all("pong").length;
  }

  /** Sends Pings in one piece. */
  pings(count: number): void {
    const pings = Array.from({ length: count }, (_, token) =>
      encodeMessage({ type: "ping", body: { token } }, this.guest.nextEnvelope()),
    );
    this.guest.raw(Buffer.concat(pings));
  }
}

/** One iteration of the event loop. */
const iterate = (): void => void vi.runOnlyPendingTimers();

describe("turns", () => {
  let clock: StepClock;
  let turns: Turns;
  beforeEach(() => {
    vi.useRealTimers();
    vi.useFakeTimers({ toFake: ["setImmediate"] });
    clock = new StepClock();
    turns = new Turns(TURN_MS, clock.now);
  });

  function guests(count: number): PeerBench[] {
    clock.stepMs = 0;
    const all = Array.from({ length: count }, () => new PeerBench(turns));
    for (const { guest } of all) guest.hello();
    iterate();
    clock.stepMs = TURN_MS / 4;
    return all;
  }

  it("of a guest within its time begin and end with its bytes", () => {
    const [one] = guests(1);
    for (let n = 1; n <= 10; n++) {
      one?.pings(2);
      expect(one?.pongs).toBe(2 * n);
      expect(one?.connection.reading).toBe(true);
      iterate();
    }
  });

  it("of a guest that floods end with its time: it is not read, and others are answered at once", () => {
    const [flood, other] = guests(2);
    flood?.pings(100);
    const first = flood?.pongs ?? 0;
    expect(first).toBeGreaterThan(0);
    expect(first).toBeLessThanOrEqual(TURN_MS / clock.stepMs);
    expect(flood?.connection.reading).toBe(false);
    // What was under way waits with the rest.
    flood?.pings(100);
    expect(flood?.pongs).toBe(first);
    let iterations = 0;
    for (; !flood?.connection.reading; iterations++) {
      other?.pings(1);
      expect(other?.pongs).toBe(iterations + 1);
      const before = flood?.pongs ?? 0;
      iterate();
      expect((flood?.pongs ?? 0) - before).toBeLessThanOrEqual(TURN_MS / clock.stepMs);
    }
    expect(flood?.pongs).toBe(200);
    expect(iterations).toBeGreaterThan((200 * clock.stepMs) / TURN_MS - 2);
  });

  it("count all the pieces of one iteration together", () => {
    const [flood] = guests(1);
    for (let n = 0; n < 32 && flood?.connection.reading; n++) flood.pings(2);
    expect(flood?.pongs).toBeLessThanOrEqual(TURN_MS / clock.stepMs);
    expect(flood?.connection.reading).toBe(false);
  });

  it("of several that flood follow one another in order", () => {
    const floods = guests(3);
    for (const flood of floods) flood.pings(40);
    const counts = (): number[] => floods.map(({ pongs }) => pongs);
    const [start = 0] = counts();
    expect(counts()).toEqual([start, start, start]);
    for (let round = 0; Math.min(...counts()) < 40; round++) {
      for (let n = 0; n < 3; n++) iterate();
      expect(new Set(counts()).size, `round ${round}: ${counts()}`).toBe(1);
    }
  });

  it("have to be over before another process can go on with the connection", () => {
    const [one] = guests(1);
    one?.pings(100);
    expect(one?.peer.suspend()).toBe(false);
    while (!one?.connection.reading) iterate();
    expect(one.pongs).toBe(100);
    expect(one.peer.suspend()).toBe(true);
    expect(one.connection.reading).toBe(false);
    one.peer.continue();
    expect(one.connection.reading).toBe(true);
  });

  it("do a message that takes longer than a turn whole, and then wait", () => {
    const [slow, other] = guests(2);
    clock.stepMs = 50 * TURN_MS;
    slow?.pings(3);
    expect(slow?.pongs).toBe(1);
    other?.pings(1);
    expect(other?.pongs).toBe(1);
    iterate();
    expect(slow?.pongs).toBe(2);
  });

  it("end for a guest that has left", () => {
    const [flood] = guests(1);
    flood?.pings(100);
    flood?.connection.close();
    const { pongs } = flood ?? {};
    for (let n = 0; n < 10; n++) iterate();
    expect(flood?.pongs).toBe(pongs);
    expect(flood?.gone).toBe(1);
  });

  it("of bytes that are no messages count as well", () => {
    const [flood, other] = guests(2);
    flood?.guest.raw(Buffer.from("VENC\0noise".repeat(1000)));
    expect(flood?.connection.reading).toBe(false);
    other?.pings(1);
    expect(other?.pongs).toBe(1);
    while (!flood?.connection.reading) iterate();
    flood.pings(1);
    for (let n = 0; n < 10; n++) iterate();
    expect(flood.pongs).toBe(1);
  });

  it("are those of a client of HXFR as well", () => {
    const [other] = guests(1);
    const connection = new MemoryConnection();
    const server = new HxfrServer({ open: () => idle, log });
    new SessionPeer({
      ...{ connection, server, kind: "chardev", rejectHelix: false, log, turns },
      onGone: () => undefined,
    }).open();
    const replyBytes = helixPing(0).length;
    connection.receive(Buffer.concat(Array.from({ length: 100 }, (_, n) => helixPing(n))));
    expect(connection.written.length).toBeLessThanOrEqual((TURN_MS / clock.stepMs) * replyBytes);
    expect(connection.reading).toBe(false);
    other?.pings(1);
    expect(other?.pongs).toBe(1);
    while (!connection.reading) iterate();
    expect(connection.written.length).toBe(100 * replyBytes);
  });
});

describe("an exception", () => {
  const broken = (): never => {
    throw new RangeError("as the test wants it");
  };
  const still = new Turns(TURN_MS, () => 0);

  /** The peer is told, the log has it, and both this guest and another go on. */
  function expectContained(bench: PeerBench, cause: (neighbour: PeerBench) => void, errors = 1): void {
    const neighbour = new PeerBench(still);
    neighbour.guest.hello();
    cause(neighbour);
    expect(bench.guest.all("error").map(({ body }) => body)).toMatchObject(
      Array(errors).fill({ code: vsockenc.ErrorCode.INTERNAL_ERROR, fatal: true }),
    );
    expect(lines.filter(({ level }) => level === 50)).toMatchObject([
      { err: { message: "as the test wants it" }, msg: expect.stringContaining("please report") },
    ]);
    neighbour.pings(1);
    expect(neighbour.pongs).toBe(1);
    expect(neighbour.guest.all("error")).toEqual([]);
  }

  it("while a message is processed ends that session alone; the guest may open another", () => {
    let fails = true;
    const bench = new PeerBench(still, () => ({ ...idle, receive: () => fails && broken() }));
    bench.guest.hello();
    expectContained(bench, () => bench.guest.send({ type: "drain", body: { token: 1 } }));
    fails = false;
    bench.guest.epoch += 1;
    bench.guest.hello();
    bench.guest.send({ type: "drain", body: { token: 1 } });
    bench.pings(1);
    expect(bench.pongs).toBe(1);
  });

  it("while a session opens is that guest's answer", () => {
    const bench = new PeerBench(still, broken);
    expectContained(bench, () => bench.guest.hello());
    expect(bench.guest.all("error")[0]?.body.text).toContain("as the test wants it");
    expect(bench.guest.received.at(-1)?.envelope).toMatchObject({ epoch: bench.guest.epoch, sequence: 1 });
  });

  it("while a session ends ends nothing else", () => {
    const bench = new PeerBench(still, () => ({ ...idle, end: broken }));
    bench.guest.hello();
    expectContained(bench, () => bench.connection.close(), 0);
    expect(bench.gone).toBe(1);
  });

  it("while the handler reports an error of its own is contained", () => {
    let output: SessionOutput | undefined;
    const bench = new PeerBench(still, (its) => {
      output = its;
      return { ...idle, end: broken };
    });
    bench.guest.hello();
    const error = { name: "SessionError", code: "ENCODER_FAILED", message: "broken" } as const;
    output?.fail(error);
    expect(bench.guest.all("error")).toMatchObject([{ body: { code: vsockenc.ErrorCode.ENCODER_FAILED } }]);
    expect(lines.filter(({ level }) => level === 50)).toHaveLength(1);
  });

  it.each(["onTick", "onDrain"] as const)("in %s ends that session alone", (method) => {
    const connection = new MemoryConnection();
    const failures: string[] = [];
    const server = new SessionServer({ hostBootId: 1, welcome: () => ({}), open: () => idle, log });
    const faulty = Object.assign(server, {
      [method]: broken,
      fail: ({ message }: Error) => void failures.push(message),
    });
    new SessionPeer({
      ...{ connection, server: faulty, kind: "chardev", rejectHelix: false, log, turns: still },
      onGone: () => undefined,
    }).open();
    if (method === "onDrain") connection.drain();
    else vi.advanceTimersByTime(LIMITS.PING_INTERVAL_MS / 2);
    expect(failures).toMatchObject([expect.stringContaining("as the test wants it")]);
    expect(connection.closed).toBe(false);
  });

  it("of a client of HXFR closes its connection with an error", async () => {
    vi.useRealTimers();
    const connection = new MemoryConnection();
    const server = new HxfrServer({ open: broken, log });
    const closed = new Promise<void>((onGone) => {
      const rest = { rejectHelix: false, log, turns: still };
      new SessionPeer({ connection, server, kind: "client", ...rest, onGone }).open();
    });
    connection.receive(helixFrame({ resource: 1 }));
    await closed;
    expect(connection.written[4]).toBe(0xff);
    expect(connection.written.toString("latin1")).toContain("as the test wants it");
    expect(lines.filter(({ level }) => level === 50)).toHaveLength(1);
  });
});

describe("a peer that leaves at once", () => {
  it("leaves no timer behind", () => {
    for (let n = 0; n < 100; n++) {
      const connection: MemoryConnection = new MemoryConnection(() => connection.close());
      const server = new SessionServer({ hostBootId: 1, welcome: () => ({}), open: () => idle, log });
      let gone = 0;
      new SessionPeer({
        ...{ connection, server, kind: "client", rejectHelix: true, log },
        onGone: () => {
          gone += 1;
        },
      }).open();
      expect(gone).toBe(1);
    }
    expect(vi.getTimerCount()).toBe(0);
  });
});
