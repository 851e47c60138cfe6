import { describe, expect, it } from "vitest";
import { FIELD_BOUNDS, LIMITS } from "../../../proto/limits.ts";
import { decodeBody, encodeBody, MessageFormatError, messageId } from "../../../proto/messages.ts";

describe("texts", () => {
  const messages = ["hello", "welcome", "bye", "error", "configured"] as const;
  const texts = messages.flatMap((type) =>
    Object.entries(FIELD_BOUNDS).flatMap(([path, bound]) => {
      const [message, field = ""] = path.split(".");
      const isText = message?.toLowerCase() === type && "max_length" in bound;
      return isText ? [{ type, field, limit: LIMITS[bound.max_length] }] : [];
    }),
  );
  it("are in these messages", () => expect(texts).toHaveLength(messages.length));

  /** The field as it is received. */
  function receive(type: (typeof messages)[number], field: string, text: string): unknown {
    const message = decodeBody(messageId(type), encodeBody({ type, body: { [field]: text } }));
    return message?.type === type ? Reflect.get(message.body, field) : undefined;
  }

  it.each(texts)("of $type.$field are bounded, and name the bound", ({ type, field, limit }) => {
    for (const text of ["x".repeat(limit), "ü".repeat(limit / 2)]) {
      expect(receive(type, field, text)).toBe(text);
    }
    for (const text of ["x".repeat(limit + 1), "ü".repeat(1 + limit / 2), "\x07".repeat(32_000)]) {
      const reason = `${type}.${field} has ${Buffer.byteLength(text)} bytes, limit ${limit}`;
      expect(() => receive(type, field, text)).toThrow(new MessageFormatError(reason));
    }
  });

  it.each(texts)("of $type.$field cannot command a terminal or begin a line", ({ type, field }) => {
    const hostile = "a\x1b[2Jb\x9bc\nd\re\0f\u2028g\u202eh";
    expect(receive(type, field, hostile)).toBe("a\uFFFD[2Jb\uFFFDc\uFFFDd\uFFFDe\uFFFDf\uFFFDg\uFFFDh");
  });
});
