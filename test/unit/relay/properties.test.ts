/** Properties that hold for every input that fast-check can think of. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatAddress, parseAddress } from "../../../common/address.ts";
import { ConfigurationError, parseConfiguration } from "../../../host/config.ts";
import { ReceiveCredit, SendCredit } from "../../../host/relay/credits.ts";
import { RequestError } from "../../../host/relay/errors.ts";
import { checkAttach, checkConfigure } from "../../../host/relay/requests.ts";
import { truncate } from "../../../host/relay/session.ts";
import { encodeMessage } from "../../../proto/framing.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { decodeBody, MessageFormatError } from "../../../proto/messages.ts";
import { vsockenc } from "../../../proto/protobuf.ts";
import { MessageReader } from "../../support/message-reader.ts";

const u32 = fc.oneof(
  fc.integer({ min: 0, max: 0xffffffff }),
  fc.constantFrom(0, 1, 15, 16, 16384, 16385, 0xffffffff),
);

/** Cuts bytes at the given places. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...at].map((from, index) => bytes.subarray(from, at[index] ?? bytes.length));
}

describe("framing", () => {
  it("finds every message between any garbage, however the bytes are cut", () => {
    const garbage = fc.uint8Array({ maxLength: 50 });
    fc.assert(
      fc.property(
        fc.array(fc.tuple(u32, garbage), { maxLength: 20 }),
        fc.array(fc.nat(), { maxLength: 20 }),
        (items, places) => {
          const messages = items.map(([token], sequence) =>
            encodeMessage({ type: "ping", body: { token } }, { epoch: 7, sequence, stream: 0 }),
          );
          // Garbage that could begin a header swallows what follows, up to a message's length: that is what NULs
          // are for, so it is made harmless here.
          const noise = items.map(([, bytes]) =>
            Buffer.from(bytes.map((byte) => (byte === 0x56 ? 0 : byte))),
          );
          const stream = Buffer.concat(
            messages.flatMap((message, n) => [noise[n] ?? Buffer.alloc(0), message]),
          );
          const parser = new MessageReader();
          const tokens = cut(stream, places).flatMap((piece) =>
            parser
              .push(piece)
              .map((event) =>
                event.kind === "message" && event.message.type === "ping" ? event.message.body.token : -1,
              ),
          );
          expect(tokens).toEqual(items.map(([token]) => token));
        },
      ),
    );
  });

  it("makes of any bytes events and nothing else, and never keeps more than a message", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 3000 }), { maxLength: 10 }), (chunks) => {
        const parser = new MessageReader();
        for (const chunk of chunks) {
          for (const event of parser.push(chunk)) expect(event.kind).toBeTypeOf("string");
          expect(parser.pendingBytes).toBeLessThan(LIMITS.MAX_MESSAGE_BYTES);
        }
      }),
    );
  });

  it("decodes any body, or says that it is malformed", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 255 }), fc.uint8Array({ maxLength: 300 }), (type, body) => {
        try {
          decodeBody(type, body);
        } catch (error) {
          expect(error).toBeInstanceOf(MessageFormatError);
        }
      }),
    );
  });
});

describe("credits", () => {
  it("never let more be under way than the window, and never stall", () => {
    const window = LIMITS.GUEST_WINDOW_BYTES;
    const sizes = fc.array(fc.integer({ min: 24, max: LIMITS.MAX_MESSAGE_BYTES }), {
      minLength: 1,
      maxLength: 200,
    });
    fc.assert(
      fc.property(sizes, fc.array(fc.boolean(), { minLength: 1, maxLength: 50 }), (messages, pattern) => {
        const sender = new SendCredit(window);
        const receiver = new ReceiveCredit(window);
        const underWay: number[] = [];
        const consume = (): void => {
          const bytes = underWay.shift();
          if (bytes === undefined) return;
          const granted = receiver.consume(bytes);
          if (granted !== undefined) sender.grant(granted);
        };
        let turn = 0;
        for (const bytes of messages) {
          if (pattern[turn++ % pattern.length]) consume();
          while (!sender.spend(bytes)) {
            // Without something to consume, both sides would stall.
            expect(underWay.length).toBeGreaterThan(0);
            consume();
          }
          underWay.push(bytes);
          expect(receiver.receive(bytes)).toBe(true);
          expect(underWay.reduce((a, b) => a + b, 0)).toBeLessThanOrEqual(window);
        }
      }),
    );
  });
});

const decodeAttach = (body: vsockenc.Attach.$Properties): vsockenc.Attach =>
  vsockenc.Attach.decode(vsockenc.Attach.encode(body).finish());

describe("requests", () => {
  const plane = fc.record({ resource: u32, offset: fc.maxSafeNat(), stride: u32 });
  const rectangle = fc.record({ x: u32, y: u32, width: u32, height: u32 });

  it("of Attach are within the limits, or refused with a RequestError", () => {
    const request = fc.record({
      buffer: u32,
      width: u32,
      height: u32,
      fourcc: u32,
      modifierHigh: fc.constantFrom(0, 1),
      modifierLow: fc.constantFrom(0, 0, 1),
      planes: fc.array(plane, { maxLength: 6 }),
      visible: fc.option(rectangle, { nil: undefined }),
    });
    fc.assert(
      fc.property(request, ({ visible, ...body }) => {
        try {
          const checked = checkAttach(decodeAttach({ ...body, ...(visible && { visible }) }));
          expect(checked.width).toBeLessThanOrEqual(LIMITS.MAX_DIMENSION);
          expect(checked.planes.length).toBeLessThanOrEqual(LIMITS.MAX_PLANES);
          expect(new Set(checked.planes.map(({ resource }) => resource === 0)).size).toBe(1);
          expect(checked.visible.x + checked.visible.width).toBeLessThanOrEqual(checked.width);
          expect(checked.visible.y + checked.visible.height).toBeLessThanOrEqual(checked.height);
        } catch (error) {
          expect(error).toBeInstanceOf(RequestError);
        }
      }),
    );
  });

  it("of Configure are within the limits, or refused with a RequestError", () => {
    const numbers = fc.record({
      ...{ codec: u32, width: u32, height: u32, framerateNumerator: u32, framerateDenominator: u32 },
      ...{ bitrateKbps: u32, profile: u32, rateControl: u32 },
    });
    const levels = fc.record({ levels: fc.array(u32, { maxLength: LIMITS.MAX_LEVELS + 1 }) });
    const request = fc.tuple(numbers, levels).map(([some, rest]) => ({ ...some, ...rest }));
    fc.assert(
      fc.property(request, (body) => {
        try {
          const checked = checkConfigure(vsockenc.Configure.decode(vsockenc.Configure.encode(body).finish()));
          expect(checked.framerate.denominator).toBeGreaterThan(0);
          expect(checked.bitrateKbps).toBeLessThanOrEqual(LIMITS.MAX_BITRATE_KBPS);
        } catch (error) {
          expect(error).toBeInstanceOf(RequestError);
        }
      }),
    );
  });

  it("truncate any text to its bound", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 600 }), (text) => {
        const short = truncate(text);
        expect(Buffer.byteLength(short)).toBeLessThanOrEqual(LIMITS.MAX_TEXT_BYTES);
        expect(text.startsWith(short)).toBe(true);
      }),
    );
  });
});

describe("configuration", () => {
  it("is read or refused with a ConfigurationError, whatever the file says", () => {
    const scalar = fc.oneof(fc.string(), fc.integer(), fc.boolean());
    const key = fc.constantFrom(..."log level encoder order vm name ports listen address x".split(" "));
    const line = fc.oneof(
      fc.string({ maxLength: 40 }),
      fc.tuple(key, scalar).map(([name, value]) => `${name} = ${JSON.stringify(value)}`),
      key.map((name) => `[[${name}]]`),
      key.map((name) => `[${name}]`),
    );
    fc.assert(
      fc.property(fc.array(line, { maxLength: 12 }), (lines) => {
        try {
          parseConfiguration(lines.join("\n"), "any.toml");
        } catch (error) {
          expect(error).toBeInstanceOf(ConfigurationError);
        }
      }),
    );
  });

  it("reads every address that it writes, and refuses or keeps any text", () => {
    fc.assert(
      fc.property(
        fc.string({ maxLength: 60 }),
        fc.constantFrom("unix:", "tcp:", "vsock:", ""),
        (text, kind) => {
          const parsed = parseAddress(kind + text);
          if (parsed !== undefined) expect(parseAddress(formatAddress(parsed))).toEqual(parsed);
        },
      ),
    );
  });
});
