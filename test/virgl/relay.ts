/** The relay's end of an export connection, message by message. */
import { readSync } from "node:fs";
import { ExportChannel } from "../../host/export/channel.ts";
import { connectUnix } from "../../host/native/listener.ts";
import { closeDescriptor } from "../../host/native/os-addon.ts";
import type { ExportMessage, ResourceContent } from "../../proto/export.ts";
import { LIMITS } from "../../proto/limits.ts";
import { until } from "../support/until.ts";

type Type = ExportMessage["type"];
type MessageOf<Name extends Type> = Extract<ExportMessage, { type: Name }>;

interface Memory {
  readonly descriptor: number;
  readonly bytes: number;
}

export class TestRelay {
  readonly #channel: ExportChannel;
  readonly #received: ExportMessage[] = [];
  readonly #memories = new Map<number, Memory>();
  readonly #slots = new Map<number, Memory>();
  #closed = false;
  #request = 0;

  /** @param hello the version to greet with; undefined: no greeting */
  constructor(path: string, hello: number | undefined = LIMITS.EXPORT_VERSION) {
    this.#channel = new ExportChannel(
      connectUnix(path),
      {
        maxMessageBytes: LIMITS.MAX_EXPORT_MESSAGE_BYTES,
        maxDescriptors: LIMITS.MAX_MEMORIES,
        maxQueuedBytes: 1 << 20,
        turnBytes: 1 << 16,
      },
      { onMessage: (message) => this.#receive(message), onClose: () => this.#end() },
    );
    if (hello !== undefined) this.send({ type: "hello", version: hello, software: "test" });
  }

  get closed(): boolean {
    return this.#closed;
  }

  send(message: ExportMessage): void {
    this.#channel.send(message);
  }

  close(): void {
    this.#channel.close();
  }

  /** The oldest message that was not taken yet. @throws Error if it is another, or the connection has ended */
  async next<Name extends Type>(...types: readonly Name[]): Promise<MessageOf<Name>> {
    const message = await until(
      () => this.#received.shift() ?? (this.#closed && "closed"),
      `${types.join(" or ")} from the exporter`,
    );
    if (message === "closed" || !types.some((type) => type === message.type)) {
      throw new Error(`expected ${types.join(" or ")}, got ${JSON.stringify(message)}`);
    }
    return message as MessageOf<Name>;
  }

  /** Waits for the exporter to end the connection, whatever it has sent before. */
  async ended(): Promise<void> {
    await until(() => this.#closed, "the exporter closes the connection");
  }

  /** @returns what was acquired @throws Error with the refusal */
  async acquire(
    resource: number,
    content: ResourceContent = "CONTENT_UNSPECIFIED",
    bytes = 0,
  ): Promise<MessageOf<"acquired">> {
    const answer = await this.tryAcquire(resource, content, bytes);
    if (answer.type === "refused") throw new Error(`${answer.code}: ${answer.text}`);
    return answer;
  }

  tryAcquire(
    resource: number,
    content: ResourceContent = "CONTENT_UNSPECIFIED",
    bytes = 0,
  ): Promise<MessageOf<"acquired" | "refused">> {
    this.send({ type: "acquire", request: ++this.#request, resource, content, bytes });
    return this.next("acquired", "refused");
  }

  /** Asks for a copy. @returns the request's number */
  startRead(resource: number, generation: number, slot: number): number {
    this.send({ type: "read", request: ++this.#request, resource, generation, slot });
    return this.#request;
  }

  /** Reads once, and frees the slot. @returns the pixels @throws Error with the refusal */
  async read(resource: number, generation: number, slot = 0): Promise<Buffer> {
    this.startRead(resource, generation, slot);
    const { code, text } = await this.next("readDone");
    if (code !== undefined) throw new Error(`${code}: ${text}`);
    const pixels = this.slot(slot);
    this.send({ type: "free", slot, discard: false });
    return pixels;
  }

  /** Acquires what the host renders and reads it once. */
  async readRendered(resource: number): Promise<Buffer> {
    const { generation } = await this.acquire(resource, "RENDERED");
    return await this.read(resource, generation);
  }

  /** What a slot has now. */
  slot(number: number): Buffer {
    const { descriptor = -1, bytes = 0 } = this.#slots.get(number) ?? {};
    return readBytes(descriptor, bytes, 0);
  }

  /** The bytes of acquired pages. */
  pages({ extents }: MessageOf<"acquired">): Buffer {
    return Buffer.concat(
      extents.map(({ memory, offset, length }) =>
        readBytes(this.#memories.get(memory)?.descriptor ?? -1, length, offset),
      ),
    );
  }

  /** The number of a descriptor that came with the slot, for what one may do with it. */
  slotDescriptor(number: number): number {
    return this.#slots.get(number)?.descriptor ?? -1;
  }

  memoryDescriptor(number: number): number {
    return this.#memories.get(number)?.descriptor ?? -1;
  }

  #receive(message: ExportMessage): void {
    if (message.type === "slot") {
      const old = this.#slots.get(message.slot);
      if (old !== undefined) closeDescriptor(old.descriptor);
      this.#slots.set(message.slot, message);
    } else if (message.type === "memory") {
      this.#memories.set(message.memory, { descriptor: message.descriptor, bytes: message.size });
    } else {
      this.#received.push(message);
    }
  }

  #end(): void {
    this.#closed = true;
    for (const { descriptor } of [...this.#memories.values(), ...this.#slots.values()]) {
      closeDescriptor(descriptor);
    }
  }
}

function readBytes(descriptor: number, length: number, offset: number): Buffer {
  const bytes = Buffer.alloc(length);
  if (readSync(descriptor, bytes, 0, length, offset) !== length) throw new Error("the memory is too short");
  return bytes;
}
