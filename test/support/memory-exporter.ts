/**
 * An exporter for tests: resources in a memory that this process allocates, served over the real export protocol.
 */
import { writeSync } from "node:fs";
import { ExportChannel } from "../../host/gpu/export-channel.ts";
import { closeDescriptor, createMemory } from "../../host/native/descriptor.ts";
import { FdListener } from "../../host/native/fd-socket.ts";
import type { ExportMessage, Extent } from "../../proto/export.ts";
import { LIMITS } from "../../proto/limits.ts";

export interface TestResource {
  readonly width: number;
  readonly height: number;
  readonly extents: readonly Extent[];
}

export class MemoryExporter {
  readonly memory: number;
  /** Resources by id; a test adds and removes them. */
  readonly resources = new Map<number, TestResource & { generation: number }>();
  /** What the relay has sent, oldest first. */
  readonly received: ExportMessage[] = [];
  readonly #size: number;
  readonly #listener: FdListener;
  readonly #channels = new Set<ExportChannel>();
  #generation = 0;
  #closed = false;

  constructor(path: string, size: number) {
    this.#size = size;
    this.memory = createMemory("vsockenc-test", size);
    this.#listener = FdListener.listen(path, (fd) => this.#accept(fd));
  }

  add(id: number, resource: TestResource): void {
    this.#generation += 1;
    this.resources.set(id, { ...resource, generation: this.#generation });
  }

  /** Frees a resource as the guest would: nobody asks the relay. */
  revoke(id: number): void {
    const resource = this.resources.get(id);
    if (resource === undefined) return;
    this.resources.delete(id);
    for (const channel of this.#channels) {
      channel.send({ type: "revoke", resource: id, generation: resource.generation });
    }
  }

  write(bytes: Uint8Array, offset: number): void {
    writeSync(this.memory, bytes, 0, bytes.length, offset);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const channel of this.#channels) channel.close();
    this.#listener.close();
    closeDescriptor(this.memory);
  }

  #accept(fd: number): void {
    const limits = {
      maxMessageBytes: LIMITS.MAX_EXPORT_MESSAGE_BYTES,
      maxDescriptors: LIMITS.MAX_MEMORIES,
      maxQueuedBytes: 1 << 24,
    };
    const channel: ExportChannel = new ExportChannel(fd, limits, {
      onMessage: (message) => this.#answer(channel, message),
      onClose: () => this.#channels.delete(channel),
    });
    this.#channels.add(channel);
    channel.send({ type: "hello", version: LIMITS.EXPORT_VERSION, exporter: "test" });
    channel.send({ type: "memory", memory: 0, size: this.#size, descriptor: this.memory });
  }

  #answer(channel: ExportChannel, message: ExportMessage): void {
    this.received.push(message);
    if (message.type !== "acquire") return;
    const { request, resource: id } = message;
    const resource = this.resources.get(id);
    if (resource === undefined) {
      const text = "no such resource";
      channel.send({ type: "refused", request, resource: id, code: "RESOURCE_UNKNOWN", text });
      return;
    }
    channel.send({ type: "acquired", request, resource: id, format: 2, ...resource });
  }
}
