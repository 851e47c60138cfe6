/** One relay on the export socket: what it was told and what it holds. */
import { type ExportErrorCode, type ExportMessage, ExportProtocolError } from "../../proto/export.ts";
import { LIMITS } from "../../proto/limits.ts";
import { packageVersion } from "../package-root.ts";
import { ExportChannel } from "./export-channel.ts";
import type { ExportSource } from "./export-server.ts";
import { GPU_LIMITS } from "./limits.ts";
import type { Backing, Resource } from "./resources.ts";
import { NOT_SHAREABLE } from "./shared-memories.ts";

/** Acquire and Release are the longest that a relay sends. */
const MAX_REQUEST_BYTES = 64;

export interface ExportConnectionEvents {
  onReleased(generation: number): void;
  onClose(error?: Error): void;
}

/** Why a resource is not given. */
interface Refusal {
  readonly code: ExportErrorCode;
  readonly text: string;
}

export class ExportConnection {
  readonly #source: ExportSource;
  readonly #events: ExportConnectionEvents;
  readonly #channel: ExportChannel;
  /** Generations that the relay may be reading, those revoked but not yet released included. */
  readonly #held = new Set<number>();
  /** Those whose release is overdue. */
  readonly #late = new Set<number>();
  /** Memories whose descriptor was sent. */
  readonly #sentMemories = new Set<number>();
  #unanswered = 0;
  #closed = false;

  constructor(fd: number, source: ExportSource, events: ExportConnectionEvents) {
    this.#source = source;
    this.#events = events;
    this.#channel = new ExportChannel(
      fd,
      {
        maxMessageBytes: MAX_REQUEST_BYTES,
        maxDescriptors: 0,
        maxQueuedBytes: GPU_LIMITS.EXPORT_QUEUE_BYTES,
      },
      {
        onMessage: (message) => this.#receive(message),
        onClose: (error) => {
          this.#closed = true;
          this.#events.onClose(error);
        },
      },
    );
  }

  get peerUser(): number {
    return this.#channel.peerUser;
  }

  /** Whether an earlier Revoke is still unanswered after its time. */
  get isLate(): boolean {
    return this.#late.size > 0;
  }

  holds(generation: number): boolean {
    return this.#held.has(generation);
  }

  /** Says hello and what the heads show. */
  open(): void {
    this.send({ type: "hello", version: LIMITS.EXPORT_VERSION, exporter: `vsockenc gpu ${packageVersion}` });
    this.#source.device.scanouts.forEach(({ resource, rectangle }, head) => {
      if (head < this.#source.heads || resource !== 0) {
        this.send({ type: "scanout", head, resource, rectangle });
      }
    });
  }

  revoke(resource: number, generation: number): void {
    this.send({ type: "revoke", resource, generation });
  }

  markLate(generation: number): void {
    this.#late.add(generation);
  }

  send(message: ExportMessage): void {
    this.#channel.send(message);
  }

  close(): void {
    this.#channel.close();
  }

  #receive(message: ExportMessage): void {
    switch (message.type) {
      case "acquire":
        this.#acquire(message.request, message.resource);
        break;
      case "release":
        if (this.#held.delete(message.generation)) {
          this.#late.delete(message.generation);
          this.#events.onReleased(message.generation);
        }
        break;
      default:
        throw new ExportProtocolError(`the relay sent ${message.type}, which is the exporter's to send`);
    }
  }

  /** The answer is about the newest state: what the guest has queued is carried out first. */
  #acquire(request: number, resource: number): void {
    if (this.#unanswered >= LIMITS.MAX_ACQUIRED_RESOURCES) {
      throw new ExportProtocolError(`more than ${LIMITS.MAX_ACQUIRED_RESOURCES} requests wait`);
    }
    this.#unanswered++;
    this.#source.whenSettled(() => {
      this.#unanswered--;
      if (!this.#closed) this.#answer(request, resource);
    });
  }

  #answer(request: number, id: number): void {
    const resource = this.#source.device.resource(id);
    const refusal = this.#refusal(id, resource);
    if (refusal !== undefined || resource?.backing === undefined) {
      const { code, text } = refusal ?? { code: "RESOURCE_UNKNOWN", text: "" };
      this.send({ type: "refused", request, resource: id, code, text });
      return;
    }
    const { width, height, format, backing } = resource;
    this.#sendMemories(backing);
    this.#held.add(backing.generation);
    const { generation, extents } = backing;
    this.send({ type: "acquired", request, resource: id, generation, width, height, format, extents });
  }

  #refusal(id: number, resource: Resource | undefined): Refusal | undefined {
    if (resource === undefined) {
      if (!this.#source.isReady()) {
        return { code: "DEVICE_NOT_READY", text: "no driver in the guest has started the GPU" };
      }
      return { code: "RESOURCE_UNKNOWN", text: `the guest has no resource ${id} on this GPU` };
    }
    const { backing } = resource;
    if (backing === undefined) {
      return { code: "RESOURCE_WITHOUT_BACKING", text: `resource ${id} has no pages at the moment` };
    }
    if (backing.extents.length > LIMITS.MAX_EXTENTS) {
      const text = `resource ${id} lies in ${backing.extents.length} runs of memory, at most ${LIMITS.MAX_EXTENTS}`;
      return { code: "RESOURCE_NOT_SHAREABLE", text };
    }
    if (backing.extents.some(({ memory }) => memory === NOT_SHAREABLE)) {
      const text = `resource ${id} lies in a memory beyond the ${LIMITS.MAX_MEMORIES} that are exported`;
      return { code: "RESOURCE_NOT_SHAREABLE", text };
    }
    if (this.#held.size >= LIMITS.MAX_ACQUIRED_RESOURCES && !this.#held.has(backing.generation)) {
      const text = `more than ${LIMITS.MAX_ACQUIRED_RESOURCES} resources are acquired: release some`;
      return { code: "TOO_MANY_ACQUIRED", text };
    }
    return undefined;
  }

  #sendMemories({ extents }: Backing): void {
    for (const id of new Set(extents.map(({ memory }) => memory))) {
      const memory = this.#source.memories.get(id);
      if (memory === undefined || this.#sentMemories.has(id)) continue;
      this.#sentMemories.add(id);
      this.send({ type: "memory", memory: id, size: memory.size, descriptor: memory.descriptor });
    }
  }
}
