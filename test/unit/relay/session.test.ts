import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Turns } from "../../../common/turns.ts";
import { SessionError } from "../../../host/relay/errors.ts";
import {
  type SessionMessage,
  type SessionOutput,
  SessionServer,
  truncate,
} from "../../../host/relay/session.ts";
import { SessionPeer } from "../../../host/relay/session-peer.ts";
import { TURN_MS } from "../../../host/relay/turns.ts";
import { encodeDataHead, encodeMessage, MAX_DATA_BYTES } from "../../../proto/framing.ts";
import { HEADER_OFFSET, LIMITS } from "../../../proto/limits.ts";
import { vsockenc } from "../../../proto/protobuf.ts";
import { GuestPeer } from "../../support/guest-peer.ts";
import { MemoryConnection } from "../../support/memory-connection.ts";
import { OLDER_EPOCH, OLDER_HELLO, OLDER_VERSION } from "../../support/older-version.ts";
import { crcOf, sealed } from "../../support/sealed.ts";

/** A test may have sequence numbers jump, because nobody can wait for 2^32 messages. */
const jump = vi.hoisted(() => ({ on: false, from: 3, to: 0xffffffff }));
vi.mock("../../../proto/serial-numbers.ts", async (original) => {
  const serials = await original<typeof import("../../../proto/serial-numbers.ts")>();
  const nextSerial = (serial: number) =>
    jump.on && serial === jump.from ? jump.to : serials.nextSerial(serial);
  return { ...serials, nextSerial };
});

/** A server whose link is a function call, and a guest at the other end of it. */
class Bench {
  readonly connection = new MemoryConnection((piece) => this.guest.push(piece));
  readonly handled: SessionMessage[] = [];
  /** Of each handled message. */
  readonly credits: number[] = [];
  ended = 0;
  output: SessionOutput | undefined;
  readonly guest = new GuestPeer((bytes) => this.connection.receive(bytes));
  readonly server: SessionServer;

  constructor() {
    const log = pino({ level: "silent" });
    this.server = new SessionServer({
      hostBootId: 42,
      welcome: () => ({ maxAttached: 64, maxInFlight: 8, resources: true }),
      open: (output) => {
        this.output = output;
        return {
          receive: (message, credit) => {
            this.credits.push(credit);
            if (message.type === "flush")
              throw new SessionError("PROTOCOL_VIOLATION", "as the test wants it");
            this.handled.push(message);
          },
          end: () => {
            this.ended += 1;
          },
        };
      },
      log,
    });
    new SessionPeer({
      ...{ connection: this.connection, server: this.server, kind: "chardev", rejectHelix: false },
      ...{ onGone: () => undefined, log, turns: new Turns(TURN_MS, () => 0) },
    }).open();
  }

  get session(): SessionOutput {
    if (this.output === undefined) throw new Error("no session");
    return this.output;
  }
}

describe("SessionServer", () => {
  let bench: Bench;
  let guest: GuestPeer;
  beforeEach(() => {
    vi.useFakeTimers();
    bench = new Bench();
    guest = bench.guest;
  });
  afterEach(() => {
    bench.connection.close();
    vi.useRealTimers();
    jump.on = false;
  });

  it("greets on connecting and every second without a session", () => {
    expect(guest.all("greeting")).toMatchObject([{ body: { hostBootId: 42 } }]);
    vi.advanceTimersByTime(3000);
    expect(guest.all("greeting").length).toBe(4);
    guest.hello();
    vi.advanceTimersByTime(2000);
    expect(guest.all("greeting").length).toBe(4);
  });

  it("sends no Greetings while earlier ones are unread", () => {
    bench.connection.unsentBytes = 1;
    vi.advanceTimersByTime(60_000);
    expect(guest.all("greeting").length).toBe(1);
  });

  it("answers a repeated Hello with the same Welcome", () => {
    guest.hello();
    guest.hello();
    const [first, second] = guest.all("welcome");
    expect(first?.body).toMatchObject({
      version: LIMITS.PROTOCOL_VERSION,
      hostBootId: 42,
      windowBytes: LIMITS.GUEST_WINDOW_BYTES,
    });
    expect(second).toEqual(first);
    expect(bench.ended).toBe(0);
  });

  it("treats a Hello of another epoch as another guest", () => {
    guest.hello();
    guest.epoch += 1;
    guest.hello();
    expect(bench.ended).toBe(1);
    expect(guest.received.at(-1)?.envelope.epoch).toBe(guest.epoch);
  });

  it("opens few sessions a second, and a guest that goes on asking gets the next one", () => {
    for (let count = 0; count < 10 * LIMITS.SESSIONS_PER_SECOND; count++) {
      guest.epoch += 1;
      guest.hello();
    }
    expect(guest.all("welcome")).toHaveLength(LIMITS.SESSIONS_PER_SECOND);
    expect(bench.ended).toBe(LIMITS.SESSIONS_PER_SECOND - 1);
    vi.advanceTimersByTime(1000);
    guest.hello();
    expect(guest.received.at(-1)).toMatchObject({ envelope: { epoch: guest.epoch } });
    expect(guest.all("welcome")).toHaveLength(LIMITS.SESSIONS_PER_SECOND + 1);
  });

  it("rejects a guest of another version and names the remedy", () => {
    const body = { versionMin: LIMITS.PROTOCOL_VERSION + 1, versionMax: LIMITS.PROTOCOL_VERSION + 2 };
    guest.raw(encodeMessage({ type: "hello", body }, { epoch: 5, sequence: 0, stream: 0 }));
    const [error] = guest.all("error");
    expect(error?.body).toMatchObject({ code: vsockenc.ErrorCode.VERSION_MISMATCH, fatal: true });
    expect(error?.body.text).toContain("upgrade vsockenc on the host");
    expect(bench.server.isOpen).toBe(false);
  });

  it("answers a Hello of version 2 in the form of version 2, and names the remedy", () => {
    guest.hello();
    const before = bench.connection.written.length;
    guest.raw(Buffer.from(OLDER_HELLO, "hex"));
    const answer = bench.connection.written.subarray(before);
    const { HEADER_BYTES } = LIMITS;
    const crc = answer.readUInt32LE(20);
    answer.writeUInt32LE(0, 20);
    expect(crcOf(answer)).toBe(crc);
    expect(answer.readUInt32LE(0)).toBe(LIMITS.MAGIC);
    expect([answer[4], answer[5]]).toEqual([OLDER_VERSION, vsockenc.MessageType.ERROR]);
    expect([8, 12, 16].map((at) => answer.readUInt32LE(at))).toEqual([
      ...[OLDER_EPOCH, 1, answer.length - HEADER_BYTES],
    ]);
    const error = vsockenc.Error.decode(answer.subarray(HEADER_BYTES));
    expect(error).toMatchObject({ code: vsockenc.ErrorCode.VERSION_MISMATCH, fatal: true });
    expect(error.text).toMatch(/version 2, .* version 3: upgrade vsockenc in the guest/);
    // It is another guest at the same port.
    expect(bench.ended).toBe(1);
    expect(bench.server.isOpen).toBe(false);
    // An upgraded one can follow.
    guest.epoch += 1;
    guest.hello();
    expect(bench.server.isOpen).toBe(true);
  });

  it("skips what belongs to another epoch, and epoch 0", () => {
    guest.hello();
    const stray = { type: "drain", body: { token: 1 } } as const;
    guest.raw(encodeMessage(stray, { epoch: 999, sequence: 1, stream: 0 }));
    guest.raw(encodeMessage(stray, { epoch: 0, sequence: 1, stream: 0 }));
    expect(bench.handled).toEqual([]);
    guest.send(stray);
    expect(bench.handled.length).toBe(1);
  });

  it("counts and ignores a message of a later version", () => {
    guest.hello();
    const later = encodeMessage({ type: "ping", body: { token: 1 } }, guest.nextEnvelope());
    later[HEADER_OFFSET.type] = 200;
    guest.raw(sealed(later));
    guest.send({ type: "ping", body: { token: 2 } });
    expect(guest.all("pong")).toMatchObject([{ body: { token: 2 } }]);
  });

  it("counts on from 0 after 2^32 - 1, in both directions, and notices a gap there, too", () => {
    jump.on = true;
    guest.hello();
    const ping = (sequence: number) =>
      guest.raw(
        encodeMessage(
          { type: "ping", body: { token: sequence } },
          { epoch: guest.epoch, sequence, stream: 0 },
        ),
      );
    const numbers = [1, 2, jump.from, jump.to, 0, 1, 2];
    numbers.forEach(ping);
    expect(guest.all("pong").map(({ body }) => body.token)).toEqual(numbers);
    const sent = guest.received.flatMap(({ message, envelope }) =>
      message.type === "pong" ? [envelope.sequence] : [],
    );
    expect(sent).toEqual(numbers);
    expect(bench.server.isOpen).toBe(true);
    ping(jump.from + 1);
    expect(bench.server.isOpen).toBe(false);
  });

  it("ends a session in which a message is missing", () => {
    guest.hello();
    guest.sequence += 1;
    guest.send({ type: "ping", body: { token: 1 } });
    expect(bench.ended).toBe(1);
    expect(guest.all("pong")).toEqual([]);
  });

  it("answers Ping, sends Ping after a second without output, and ends after three without input", () => {
    guest.hello();
    guest.send({ type: "ping", body: { token: 9 } });
    expect(guest.all("pong")).toMatchObject([{ body: { token: 9 } }]);
    vi.advanceTimersByTime(LIMITS.PING_INTERVAL_MS);
    expect(guest.all("ping").length).toBe(1);
    vi.advanceTimersByTime(LIMITS.SILENCE_MS);
    expect(bench.server.isOpen).toBe(false);
    expect(bench.ended).toBe(1);
  });

  it("sends an access unit in chunks that add up, and no more than credit allows", () => {
    const window = 3 * LIMITS.MAX_MESSAGE_BYTES;
    const unit = Buffer.from(Array.from({ length: 5 * MAX_DATA_BYTES + 1 }, (_, index) => index & 0xff));
    guest.hello(window);
    bench.session.answer({ type: "packet", body: { frame: 4, size: unit.length } }, unit);
    const bulkBytes = () =>
      guest.received
        .filter(({ message }) => message.type === "packet" || message.type === "data")
        .reduce((sum, { bytes }) => sum + bytes, 0);
    expect(bulkBytes()).toBeLessThanOrEqual(window);
    expect(bulkBytes()).toBeGreaterThan(window - LIMITS.MAX_MESSAGE_BYTES);
    const held = guest.all("data").length;
    bench.session.answer({ type: "drained", body: { token: 1 } });
    bench.session.send({ type: "frameDone", body: { frame: 5 } });
    expect(guest.types().at(-1)).toBe("frameDone");
    guest.send({ type: "credit", body: { grantedBytes: 10 * window } });
    expect(guest.all("data").length).toBeGreaterThan(held);
    expect(guest.types().at(-1)).toBe("drained");
    expect(Buffer.concat(guest.all("data").map(({ bytes }) => bytes)).equals(unit)).toBe(true);
    expect(guest.all("data").map(({ offset }) => offset)).toEqual(
      [0, 1, 2, 3, 4, 5].map((n) => n * MAX_DATA_BYTES),
    );
  });

  it("numbers what it sends without a gap", () => {
    guest.hello();
    bench.session.answer({ type: "packet", body: { frame: 1, size: 3 } }, Buffer.from("abc"));
    bench.session.send({ type: "frameDone", body: { frame: 2 } });
    const numbers = guest.received.map(({ envelope }) => envelope.sequence).filter((n) => n > 0);
    expect(numbers).toEqual([1, 2, 3]);
  });

  it("ends a session whose guest grants no credit, instead of keeping its answers for ever", () => {
    guest.hello(0);
    for (let frame = 0; frame < 100; frame++) {
      bench.session.answer({ type: "packet", body: { frame, size: 1 } }, Buffer.from("x"));
    }
    expect(bench.server.isOpen).toBe(false);
  });

  it("ends a session whose guest does not read", () => {
    guest.hello();
    bench.connection.unsentBytes = LIMITS.HOST_WINDOW_BYTES + LIMITS.CONTROL_RESERVE_BYTES + 1;
    bench.session.send({ type: "frameDone", body: { frame: 2 } });
    expect(bench.server.isOpen).toBe(false);
  });

  it("grants credit as its handler consumes", () => {
    guest.hello();
    const data = { type: "frame", body: { frame: 1 } } as const;
    let sent = 0;
    while (guest.all("credit").length === 0 && sent < LIMITS.GUEST_WINDOW_BYTES) {
      guest.send(data);
      bench.session.consumed(bench.credits.at(-1) ?? 0);
      sent += LIMITS.HEADER_BYTES;
    }
    expect(guest.all("credit")[0]?.body.grantedBytes).toBeGreaterThan(LIMITS.GUEST_WINDOW_BYTES);
  });

  it("ends a session whose guest sends more than was consumed, at the byte", () => {
    guest.hello();
    const piece = Buffer.alloc(MAX_DATA_BYTES);
    const send = () => guest.raw(Buffer.concat([encodeDataHead(1, 0, piece, guest.nextEnvelope()), piece]));
    for (let sent = 0; sent + LIMITS.MAX_MESSAGE_BYTES <= LIMITS.GUEST_WINDOW_BYTES; ) {
      send();
      sent += LIMITS.MAX_MESSAGE_BYTES;
    }
    expect(bench.server.isOpen).toBe(true);
    send();
    expect(guest.all("error")).toMatchObject([
      { body: { fatal: true, code: vsockenc.ErrorCode.LIMIT_EXCEEDED } },
    ]);
    expect(bench.server.isOpen).toBe(false);
  });

  it("opens no session for a name beyond its bound, and ends one for a text beyond its bound", () => {
    const body = { versionMin: 1, versionMax: 99, software: "\x07".repeat(32_000) };
    guest.raw(encodeMessage({ type: "hello", body }, { epoch: 5, sequence: 0, stream: 0 }));
    expect(bench.server.isOpen).toBe(false);
    guest.hello();
    guest.send({ type: "error", body: { text: "\x07".repeat(32_000) } });
    expect(guest.all("error")).toMatchObject([
      {
        body: { code: vsockenc.ErrorCode.PROTOCOL_VIOLATION, text: "error.text has 32000 bytes, limit 255" },
      },
    ]);
    expect(bench.server.isOpen).toBe(false);
  });

  it("answers a broken rule with a fatal Error and ends", () => {
    guest.hello();
    guest.send({ type: "flush", body: { token: 1 } });
    expect(guest.all("error")).toMatchObject([{ body: { fatal: true, text: "as the test wants it" } }]);
    expect(bench.server.isOpen).toBe(false);
  });

  it("says goodbye when it closes", () => {
    guest.hello();
    bench.server.close();
    expect(guest.all("bye").length).toBe(1);
  });
});

describe("truncate", () => {
  it("keeps texts within their bound, in whole characters", () => {
    expect(truncate("short")).toBe("short");
    const cut = truncate("ü".repeat(200));
    expect(Buffer.byteLength(cut)).toBeLessThanOrEqual(LIMITS.MAX_TEXT_BYTES);
    expect(cut).toMatch(/^ü+$/);
  });
});
