/** HXFR, whatever the bytes and however they are cut, and whatever the session below does. */
import fc from "fast-check";
import { pino } from "pino";
import { describe, expect, it } from "vitest";
import { Turns } from "../../../common/turns.ts";
import { createBackend } from "../../../host/encoders/index.ts";
import { PictureBudget, stagingBytes } from "../../../host/native/picture.ts";
import { EncoderGate } from "../../../host/relay/encoder-gate.ts";
import { SessionError } from "../../../host/relay/errors.ts";
import { HxfrServer } from "../../../host/relay/hxfr-session.ts";
import { type HxfrAnswer, HxfrStream } from "../../../host/relay/hxfr-stream.ts";
import { RelayMetrics } from "../../../host/relay/metrics.ts";
import type { SessionOutput } from "../../../host/relay/session.ts";
import { SessionPeer } from "../../../host/relay/session-peer.ts";
import { Stream } from "../../../host/relay/stream.ts";
import { TimeShare } from "../../../host/relay/time-share.ts";
import { TURN_MS } from "../../../host/relay/turns.ts";
import { Turnstile } from "../../../host/relay/turnstile.ts";
import { ByteQueue } from "../../../proto/byte-queue.ts";
import { type HxfrEvent, HxfrFormatError, type HxfrFrame, HxfrParser } from "../../../proto/hxfr.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { vsockenc } from "../../../proto/protobuf.ts";
import {
  helixConfig,
  helixEnableScanout,
  helixFrame,
  helixMessage,
  helixPing,
  helixSubscribe,
} from "../../support/helix-element.ts";
import { MemoryConnection } from "../../support/memory-connection.ts";
import { until } from "../../support/until.ts";

const log = pino({ level: "silent" });
const backend = createBackend(["null"], { onUnavailable: () => undefined });
const metrics = new RelayMetrics().forVm("");
const openStream = (output: SessionOutput): Stream =>
  new Stream(output, {
    backend,
    gate: new EncoderGate(new TimeShare()),
    probes: new Turnstile(1),
    budget: new PictureBudget(16384),
    mapping: new TimeShare(),
    resources: undefined,
    metrics,
    observer: undefined,
    log,
  });

/** The relay's end of a client's connection. */
class HxfrBench extends MemoryConnection {
  constructor() {
    super();
    const server = new HxfrServer({ open: openStream, log });
    new SessionPeer({
      ...{ connection: this, server, kind: "chardev", rejectHelix: false },
      ...{ onGone: () => undefined, log, turns: new Turns(TURN_MS, () => 0) },
    }).open();
  }

  /** Delivers bytes as a socket does, when they are wanted. */
  async deliver(chunks: readonly Buffer[]): Promise<void> {
    for (const chunk of chunks) {
      await until(() => this.reading || this.closed, "that the relay reads on");
      this.receive(chunk);
    }
  }

  /** Type, session and code of each reply so far. */
  replies(): string[] {
    const found: string[] = [];
    const { written } = this;
    for (let at = 0; at < written.length; at += 12 + written.readUInt32LE(at + 8)) {
      const type = written[at + 4];
      found.push(`${type} ${written.readUInt16LE(at + 6)} ${type === 0xff && written.readInt32LE(at + 12)}`);
    }
    return found;
  }
}

/** Cuts bytes at the given places. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...at].map((from, index) => bytes.subarray(from, at[index] ?? bytes.length));
}

const session = fc.integer({ min: 0, max: 0xffff });
const side = fc.constantFrom(16, 18, 40);
const message = fc.oneof(
  fc
    .record({ session, width: side, height: side, short: fc.boolean(), fill: fc.nat(255) })
    .map(({ session, width, height, short, fill }) =>
      helixFrame({
        session,
        width,
        height,
        pixels: Buffer.alloc(width * height * 4 - (short ? 9 : 0), fill),
      }),
    ),
  fc.record({ session, resource: fc.nat(2) }).map(helixFrame),
  session.map(helixPing),
  fc.tuple(side, fc.nat(2_000_000)).map(([width, bitrate]) => helixConfig(width, 32, bitrate)),
  fc.nat(20).map(helixEnableScanout),
  fc.nat(20).map(helixSubscribe),
);
const places = fc.array(fc.nat(), { maxLength: 30 });

/** All events, with the pixels of a frame in one. */
function parse(chunks: readonly Buffer[]): HxfrEvent[] {
  const parser = new HxfrParser();
  const input = new ByteQueue();
  const events: HxfrEvent[] = [];
  for (const chunk of chunks) {
    expect(input.length).toBeLessThan(56);
    input.add(chunk);
    for (let event = parser.next(input); event !== undefined; event = parser.next(input)) {
      const last = events.at(-1);
      if (event.kind === "pixels" && last?.kind === "pixels" && !last.last) {
        events[events.length - 1] = { ...event, bytes: Buffer.concat([last.bytes, event.bytes]) };
      } else {
        events.push(event);
      }
    }
  }
  return events;
}

describe("the parser of HXFR", () => {
  it("finds the same requests, however the bytes are cut", () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 12 }), places, (messages, at) => {
        const stream = Buffer.concat(messages);
        const events = parse([stream]);
        expect(events.filter(({ kind }) => kind === "request")).toHaveLength(messages.length);
        expect(parse(cut(stream, at))).toEqual(events);
      }),
    );
  });

  it("makes requests or an error of any bytes, and keeps less than a message", () => {
    const header = fc
      .record({ type: fc.nat(255), flags: fc.nat(3), payload: fc.uint8Array({ maxLength: 60 }) })
      .map(({ type, flags, payload }) => helixMessage(type, payload, { flags }));
    const piece = fc.oneof(message, header, fc.uint8Array({ maxLength: 100 }));
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        try {
          parse(pieces.map((bytes) => Buffer.from(bytes)));
        } catch (error) {
          expect(error).toBeInstanceOf(HxfrFormatError);
        }
      }),
    );
  });
});

describe("a connection that speaks HXFR", () => {
  it("gives the same replies in the same order, however the bytes are cut", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(message, { maxLength: 15 }), places, async (messages, at) => {
        const stream = Buffer.concat([...messages, helixPing(0xabcd)]);
        const conversations = [[stream], cut(stream, at)].map(async (chunks) => {
          const connection = new HxfrBench();
          await connection.deliver(chunks);
          await until(() => connection.replies().at(-1) === `17 ${0xabcd} false`, "the last reply");
          connection.close();
          return connection.replies();
        });
        const [whole, pieces] = await Promise.all(conversations);
        expect(pieces).toEqual(whole);
        expect(whole?.length).toBeGreaterThan(messages.filter(([, , , , type]) => type !== 4).length);
      }),
      { numRuns: 40 },
    );
  });

  it("survives any bytes: it answers, or ends with an error", async () => {
    const noise = fc.record({ at: fc.nat(), byte: fc.nat(255) });
    const before = stagingBytes();
    await fc.assert(
      fc.asyncProperty(
        fc.array(message, { minLength: 1, maxLength: 6 }),
        fc.array(noise, { maxLength: 6 }),
        places,
        async (messages, noises, at) => {
          const stream = Buffer.concat(messages);
          for (const { at: place, byte } of noises) stream[place % Math.min(stream.length, 80)] = byte;
          const connection = new HxfrBench();
          await connection.deliver(cut(stream, at));
          if (connection.closed) expect(connection.replies().at(-1)).toMatch(/^255 0 -1$/);
          connection.close();
        },
      ),
      { numRuns: 100 },
    );
    await until(() => stagingBytes() <= before, "the release of all pixels");
  });

  it("is read no further while its client does not read, and goes on later", async () => {
    const connection = new HxfrBench();
    connection.drains = false;
    const count = 100_000;
    const chunks = Array.from({ length: count / 1000 }, () =>
      Buffer.concat(Array.from({ length: 1000 }, (_, n) => helixPing(n))),
    );
    let fed = 0;
    for (const chunk of chunks) {
      if (!connection.reading) break;
      connection.receive(chunk);
      fed += 1;
    }
    expect(connection.reading).toBe(false);
    expect(connection.written.length).toBeLessThan(LIMITS.HOST_WINDOW_BYTES + 12);
    expect(fed * 12_000).toBeLessThan(LIMITS.HOST_WINDOW_BYTES + 2 * 65536);
    connection.drain();
    await connection.deliver(chunks.slice(fed));
    expect(connection.replies()).toHaveLength(count);
  });

  it("is not read while a frame is under way and much has arrived", async () => {
    const connection = new HxfrBench();
    const picture = Buffer.alloc(1024 * 1024 * 4);
    connection.receive(helixFrame({ width: 1024, height: 1024, pixels: picture }).subarray(0, 200_000));
    // Its buffer and its encoder are not there yet.
    expect(connection.reading).toBe(false);
    await until(() => connection.reading, "that the relay reads on");
    await connection.deliver([helixFrame({ width: 1024, height: 1024, pixels: picture }).subarray(200_000)]);
    await until(() => connection.replies().length === 1, "the reply");
    expect(connection.replies()).toEqual(["2 1 false"]);
    connection.close();
  });
});

describe("a session that fails", () => {
  const request = (resource: number): HxfrFrame => ({
    type: "frame",
    ...{ resource, width: 64, height: 64, format: 0x34325241, stride: 256, forceKey: 0 },
    ...{ pts: 0n, duration: 0n },
  });

  it("ends each frame with an error, and the next frame opens another", async () => {
    const outputs: SessionOutput[] = [];
    let ended = 0;
    const stream = new HxfrStream((output) => {
      outputs.push(output);
      return {
        receive: (message) => {
          if (message.type === "configure") output.send({ type: "configured", body: message.body });
          if (message.type === "attach")
            output.send({ type: "attached", body: { buffer: message.body.buffer } });
          if (message.type === "frame" && message.body.buffer === 0) {
            output.send({ type: "frameDone", body: { frame: message.body.frame } });
          }
        },
        end: () => {
          ended += 1;
        },
      };
    }, log);
    const answers: HxfrAnswer[] = [];
    const answer = (one: HxfrAnswer): void => void answers.push(one);
    await stream.encode(request(1), undefined, answer);
    const second = stream.encode(request(2), undefined, answer);
    await new Promise((resolve) => setImmediate(resolve));
    expect(answers).toEqual([]);
    outputs[0]?.fail(new SessionError("ENCODER_FAILED", "broken"));
    await second;
    expect(answers.map((one) => "error" in one && one.error.code)).toEqual(
      Array(2).fill(vsockenc.ErrorCode.ENCODER_FAILED),
    );
    expect(ended).toBe(1);
    await stream.encode(request(1), undefined, answer);
    // What the first session says now is about nothing.
    outputs[0]?.answer({ type: "packet", body: { frame: 3 } }, Buffer.alloc(1));
    outputs[1]?.answer({ type: "packet", body: { frame: 3, key: true } }, Buffer.alloc(2));
    expect(answers[2]).toEqual({ key: true, data: Buffer.alloc(2) });
    expect(outputs).toHaveLength(2);
  });

  it("is not opened again for a client that has left", async () => {
    const sessions: { ended: boolean }[] = [];
    const stream = new HxfrStream((output) => {
      const session = { ended: false };
      sessions.push(session);
      return {
        receive: ({ type }) => type === "configure" && output.send({ type: "configured", body: {} }),
        end: () => {
          session.ended = true;
        },
      };
    }, log);
    const answers: HxfrAnswer[] = [];
    const work = stream.encode(request(1), undefined, (one) => void answers.push(one));
    stream.end();
    await work;
    expect(sessions).toEqual([{ ended: true }]);
    expect(answers).toHaveLength(1);
  });
});
