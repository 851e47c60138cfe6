import { describe, expect, it } from "vitest";
import { encodeDataHead, encodeMessage } from "../../../proto/framing.ts";
import { vsockenc } from "../../../proto/protobuf.ts";
import { MessageReader } from "../../support/message-reader.ts";
import { readVectors } from "../../vectors/messages.ts";

describe("golden vectors", () => {
  const vectors = readVectors();

  it("cover every message type", () => {
    const types = Object.keys(vsockenc.MessageType).filter((name) => !/^\d|UNSPECIFIED/.test(name));
    expect(vectors.map(({ name }) => name.replace(/[A-Z]/g, "_$&").toUpperCase()).sort()).toEqual(
      types.sort(),
    );
  });

  it.each(vectors)("$name is encoded to the committed bytes", ({ message, envelope, hex }) => {
    if (message.type === "data") {
      const bytes = Buffer.from(message.bytesHex, "hex");
      const encoded = Buffer.concat([encodeDataHead(message.frame, message.offset, bytes, envelope), bytes]);
      expect(encoded.toString("hex")).toBe(hex);
    } else {
      expect(encodeMessage(message, envelope).toString("hex")).toBe(hex);
    }
  });

  it.each(vectors)("$name is decoded from the committed bytes", ({ message, envelope, hex }) => {
    const [event] = new MessageReader().push(Buffer.from(hex, "hex"));
    if (event?.kind !== "message") throw new Error(`not a message: ${event?.kind}`);
    expect(event.envelope).toEqual(envelope);
    const decoded = event.message;
    if (message.type === "data" && decoded.type === "data") {
      expect(Buffer.from(decoded.bytes).toString("hex")).toBe(message.bytesHex);
      expect(decoded).toMatchObject({ frame: message.frame, offset: message.offset });
    } else {
      expect(decoded).toMatchObject(message);
    }
  });
});
