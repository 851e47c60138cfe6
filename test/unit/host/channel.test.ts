import { afterEach, describe, expect, it } from "vitest";
import { z } from "zod";
import { Channel, type Incoming } from "../../../host/native/channel.ts";
import { closeDescriptor, createMemory, memoryStatus, os } from "../../../host/native/os-addon.ts";
import { until } from "../../support/until.ts";

const schema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("text"), value: z.number() }),
  z.strictObject({ type: z.literal("memory"), descriptor: z.literal(true) }),
]);
type Message = z.infer<typeof schema>;

class End {
  readonly received: Incoming<Message>[] = [];
  readonly channel: Channel<Message, Message>;
  closed = false;
  error: Error | undefined;

  constructor(fd: number) {
    this.channel = new Channel<Message, Message>(fd, schema, {
      onMessage: (incoming) => this.received.push({ ...incoming, bytes: Buffer.from(incoming.bytes) }),
      onClose: (error) => {
        this.closed = true;
        this.error = error;
      },
    });
  }
}

/** A message as it travels. */
function encoded(message: unknown, bytes = Buffer.alloc(0)): Buffer {
  const text = Buffer.from(JSON.stringify(message));
  const head = Buffer.alloc(8);
  head.writeUInt32LE(text.length, 0);
  head.writeUInt32LE(bytes.length, 4);
  return Buffer.concat([head, text, bytes]);
}

describe("the channel between relay and worker", () => {
  let ends: End[] = [];
  let raw: number | undefined;
  afterEach(() => {
    for (const { channel } of ends.splice(0)) channel.close();
    if (raw !== undefined) closeDescriptor(raw);
    raw = undefined;
  });

  const pair = (): [End, End] => {
    const [left, right] = os.socketPair();
    const both: [End, End] = [new End(left), new End(right)];
    ends = both;
    return both;
  };

  /** One end, and the descriptor of the other. */
  const rawPair = (): [End, number] => {
    const [left, right] = os.socketPair();
    const end = new End(left);
    ends = [end];
    raw = right;
    return [end, right];
  };

  it("carries messages in order, with bytes of any size and descriptors", async () => {
    const [left, right] = pair();
    const large = Buffer.alloc(5 << 20, 7);
    const memory = createMemory("test", 4096);
    left.channel.send({ type: "text", value: 1 });
    left.channel.send({ type: "text", value: 2 }, large);
    left.channel.send({ type: "memory", descriptor: true }, Buffer.from("m"), memory);
    left.channel.send({ type: "text", value: 3 });
    await until(() => right.received.length === 4, "four messages");
    expect(right.received.map(({ message, bytes }) => [message.type, bytes.length])).toEqual([
      ["text", 0],
      ["text", large.length],
      ["memory", 1],
      ["text", 0],
    ]);
    expect(right.received[1]?.bytes.equals(large)).toBe(true);
    const descriptor = right.received[2]?.descriptor ?? -1;
    expect(memoryStatus(descriptor).identity).toBe(memoryStatus(memory).identity);
    for (const fd of [descriptor, memory]) closeDescriptor(fd);
  });

  it("takes messages that are cut anywhere", async () => {
    const [end, fd] = rawPair();
    const bytes = Buffer.concat([1, 2].map((value) => encoded({ type: "text", value }, Buffer.from("abc"))));
    for (const byte of bytes) {
      os.send(fd, Buffer.from([byte]), 0, []);
      await new Promise(setImmediate);
    }
    await until(() => end.received.length === 2, "two messages");
    expect(end.received.map(({ bytes: own }) => own.toString())).toEqual(["abc", "abc"]);
  });

  it.each([
    ["a length that no message has", Buffer.alloc(8, 0xff), "a message of"],
    [
      "text that is not JSON",
      Buffer.concat([Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]), Buffer.from("{")]),
      "JSON",
    ],
    ["an unknown type", encoded({ type: "shutdown" }), "an invalid message"],
    ["a field of another type", encoded({ type: "text", value: "1" }), "an invalid message"],
    ["a descriptor that is missing", encoded({ type: "memory", descriptor: true }), "without its descriptor"],
  ])("ends at %s", async (_what, bytes, reason) => {
    const [end, fd] = rawPair();
    os.send(fd, encoded({ type: "text", value: 1 }), 0, []);
    os.send(fd, bytes, 0, []);
    await until(() => end.closed, "the end");
    expect(end.received).toHaveLength(1);
    expect(end.error?.message).toContain(reason);
  });
});
