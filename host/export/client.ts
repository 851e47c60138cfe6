/**
 * The relay's end of the export protocol: requests from a VM's exporter where the bytes of resource N are.
 *
 * An exporter counts one hold for each resource and connection. So a Release is deferred while an Acquire for the same
 * resource is unanswered: otherwise it would end the new hold as well.
 */
import { packageVersion } from "../../common/package-root.ts";
import {
  type AcquiredResource,
  type CursorImage,
  type ExportErrorCode,
  type ExportMessage,
  ExportProtocolError,
  type Rectangle,
  type ResourceContent,
} from "../../proto/export.ts";
import { LIMITS } from "../../proto/limits.ts";
import { connectUnix } from "../native/listener.ts";
import { closeDescriptor, memoryStatus } from "../native/os-addon.ts";
import type { ResourceBytes } from "../native/picture.ts";
import { ExportChannel } from "./channel.ts";
import { Descriptions } from "./descriptions.ts";
import { Slots } from "./slots.ts";

/** A memory that resources lie in. */
export interface ExportedMemory {
  /** Read-only; open until the connection closes. The user must not close it. */
  readonly descriptor: number;
  /** In bytes. */
  readonly size: number;
  /** Device and inode: equal for the same memory on different connections. */
  readonly identity: string;
}

/** A resource whose bytes may be read until it is released. */
export interface ExportedResource extends AcquiredResource {
  /** The memories that the extents name; each extent lies inside its memory. */
  readonly memories: ReadonlyMap<number, ExportedMemory>;
  /** The extents, by their memories' descriptors. */
  readonly pages: ResourceBytes;
}

/** What a resource is acquired for. */
export interface ResourceUse {
  readonly content: ResourceContent;
  /** How many bytes from the resource's first on are needed; 0: all. */
  readonly bytes: number;
}

/** What a Read took in the exporter, in microseconds. */
export interface ReadTimes {
  /** Until the copy began: other reads, and the GPU's work that was queued before. */
  readonly waitUs: number;
  readonly copyUs: number;
}

/** Events without a listener are ignored. */
export interface ExportClientEvents {
  /** The guest frees the resource: stop reading and call release(); the guest waits at most REVOKE_HOLD_MS. */
  onRevoke?(resource: number, generation: number): void;
  /** The guest's GPU was reset: every hold has ended. */
  onReset?(): void;
  /** The head now shows this part of the resource; resource 0: nothing. */
  onScanout?(head: number, resource: number, rectangle: Rectangle): void;
  /** The guest has changed this part of the head's picture. */
  onDamage?(head: number, rectangle: Rectangle): void;
  /** The head's pointer has another image; undefined: none is shown. */
  onCursorImage?(head: number, image: CursorImage | undefined): void;
  /** Where the pointer's first pixel is in the head's picture; it may lie outside. */
  onCursorPosition?(head: number, x: number, y: number): void;
  /** The connection is over, and with it every hold and descriptor. Not called if connect() failed. */
  onClose?(error?: Error): void;
}

/** The exporter refused the resource. */
export class ExportRefusedError extends Error {
  override readonly name = "ExportRefusedError";
  readonly code: ExportErrorCode;

  constructor(resource: number, code: ExportErrorCode, text: string) {
    super(`the exporter refused resource ${resource}: ${text} (${code})`);
    this.code = code;
  }
}

/** There is no connection to the exporter, or it has ended. */
export class ExportClosedError extends Error {
  override readonly name = "ExportClosedError";
}

const ANY_USE: ResourceUse = { content: "CONTENT_UNSPECIFIED", bytes: 0 };

/** A promise to settle. */
interface Settling<Result> {
  readonly resolve: (result: Result) => void;
  readonly reject: (error: Error) => void;
}

const HELLO_TIMEOUT_MS = 3000;
/** Behind a guest's unfinished draws a read may take seconds; an exporter that takes longer than this is stuck. */
const READ_TIMEOUT_MS = 30_000;
/** Requests are small and few; an exporter that leaves that many bytes unread is stuck. */
export const MAX_UNSENT_REQUEST_BYTES = 1 << 16;
/** Received in a turn: a VM's exporter must not delay the links of others. */
export const RELAY_TURN_BYTES = 1 << 16;

/** A Read that is unanswered. */
interface PendingRead extends Settling<ReadTimes> {
  readonly resource: number;
  readonly slot: number;
  readonly timer: NodeJS.Timeout;
}

/** An Acquire that is unanswered. */
interface PendingAcquire extends Settling<ExportedResource> {
  readonly resource: number;
  readonly bytes: number;
  readonly known: ExportedResource | undefined;
}

export class ExportClient {
  /** Where rendered resources are copied to. */
  readonly slots = new Slots((slot, discard) => this.#channel.send({ type: "free", slot, discard }));
  readonly #channel: ExportChannel;
  readonly #events: ExportClientEvents;
  readonly #memories = new Map<number, ExportedMemory>();
  readonly #pending = new Map<number, PendingAcquire>();
  readonly #descriptions = new Descriptions();
  readonly #reads = new Map<number, PendingRead>();
  /** Releases that wait, by resource: the generations. */
  readonly #deferred = new Map<number, Set<number>>();
  /** Revoked and not yet released, by resource: the generation. */
  readonly #revoked = new Map<number, number>();
  #opening: Settling<void> | undefined;
  #nextRequest = 1;
  #closed = false;

  private constructor(fd: number, events: ExportClientEvents, opening: Settling<void>) {
    this.#events = events;
    this.#opening = opening;
    this.#channel = new ExportChannel(
      fd,
      {
        maxMessageBytes: LIMITS.MAX_EXPORT_MESSAGE_BYTES,
        maxDescriptors: LIMITS.MAX_MEMORIES + LIMITS.MAX_SLOTS,
        maxQueuedBytes: MAX_UNSENT_REQUEST_BYTES,
        turnBytes: RELAY_TURN_BYTES,
      },
      {
        onMessage: (message) => this.#receive(message),
        onClose: (error) => this.#end(error),
      },
    );
  }

  /** As `open`, with the exporter's socket by its path. @throws SocketError */
  static async connect(path: string, events?: ExportClientEvents): Promise<ExportClient> {
    return await ExportClient.open(connectUnix(path), events);
  }

  /**
   * Takes a connected socket over and exchanges hellos with the exporter.
   *
   * @throws ExportClosedError, ExportProtocolError (another version)
   */
  static async open(fd: number, events: ExportClientEvents = {}): Promise<ExportClient> {
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const text = `no message from the exporter within ${HELLO_TIMEOUT_MS} ms`;
        client.#channel.close(new ExportClosedError(text));
      }, HELLO_TIMEOUT_MS);
      const client: ExportClient = new ExportClient(fd, events, {
        resolve: () => {
          clearTimeout(timer);
          resolve(client);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      });
    });
  }

  /**
   * Acquires a resource and holds it until release().
   *
   * @throws ExportRefusedError, ExportClosedError
   */
  acquire(resource: number, { content, bytes }: ResourceUse = ANY_USE): Promise<ExportedResource> {
    return new Promise((resolve, reject) => {
      if (this.#closed) {
        reject(new ExportClosedError("the connection to the exporter is closed"));
        return;
      }
      const request = this.#newRequest();
      const known = this.#descriptions.find(resource, bytes);
      this.#pending.set(request, { resource, bytes, known, resolve, reject });
      const generation = known?.generation ?? 0;
      this.#channel.send({ type: "acquire", request, resource, content, bytes, known: generation });
    });
  }

  /**
   * Copies an acquired, readable resource into a slot, which the caller has taken from `slots`. Settles when the GPU
   * has finished: the guest may draw again.
   *
   * @throws ExportRefusedError, ExportClosedError
   */
  read({ resource, generation }: ExportedResource, slot: number): Promise<ReadTimes> {
    return new Promise((resolve, reject) => {
      if (this.#closed) {
        reject(new ExportClosedError("the connection to the exporter is closed"));
        return;
      }
      const request = this.#newRequest();
      const timer = setTimeout(() => {
        const text = `the exporter has not read resource ${resource} within ${READ_TIMEOUT_MS} ms`;
        this.#channel.close(new ExportClosedError(text));
      }, READ_TIMEOUT_MS);
      this.#reads.set(request, { resource, slot, timer, resolve, reject });
      this.#channel.send({ type: "read", request, resource, generation, slot });
    });
  }

  /** Ends the hold; also the answer to onRevoke. Has no effect on a hold that has ended already. */
  release(resource: number, generation: number): void {
    const revoked = this.#revoked.get(resource) === generation;
    if (revoked) this.#revoked.delete(resource);
    // The exporter answers no Acquire while it waits for the answer to a Revoke.
    if (revoked || !this.#isAwaited(resource)) {
      this.#channel.send({ type: "release", resource, generation });
      return;
    }
    const generations = this.#deferred.get(resource) ?? new Set();
    this.#deferred.set(resource, generations.add(generation));
  }

  /** Closes the connection; onClose follows before this returns. */
  close(): void {
    this.#channel.close();
  }

  #newRequest(): number {
    const request = this.#nextRequest;
    this.#nextRequest = request === 0xffffffff ? 1 : request + 1;
    return request;
  }

  #isAwaited(resource: number): boolean {
    return [...this.#pending.values()].some((pending) => pending.resource === resource);
  }

  #receive(message: ExportMessage): void {
    if (this.#opening !== undefined && message.type !== "hello") {
      if ("descriptor" in message) closeDescriptor(message.descriptor);
      throw new ExportProtocolError(`expected hello from the exporter, got ${message.type}`);
    }
    switch (message.type) {
      case "hello":
        this.#welcome(message.version);
        break;
      case "memory":
        this.#addMemory(message.memory, message.size, message.descriptor);
        break;
      case "acquired":
      case "refused":
        this.#settle(message);
        break;
      case "revoke":
        this.#noteRevoked(message.resource, message.generation);
        this.#events.onRevoke?.(message.resource, message.generation);
        break;
      case "reset":
        this.#events.onReset?.();
        break;
      case "slot":
        this.slots.setMemory(message.slot, message.bytes, message.descriptor);
        break;
      case "readDone":
        this.#finishRead(message);
        break;
      case "scanout":
        this.#events.onScanout?.(message.head, message.resource, message.rectangle);
        break;
      case "damage":
        this.#events.onDamage?.(message.head, message.rectangle);
        break;
      case "cursorImage":
        this.#events.onCursorImage?.(message.head, message.image);
        break;
      case "cursorPosition":
        this.#events.onCursorPosition?.(message.head, message.x, message.y);
        break;
      default:
        throw new ExportProtocolError(`the exporter sent ${message.type}, which only a relay sends`);
    }
  }

  #welcome(version: number): void {
    if (version !== LIMITS.EXPORT_VERSION) {
      throw new ExportProtocolError(
        `the exporter has protocol version ${version}, this relay ${LIMITS.EXPORT_VERSION}: update the older one`,
      );
    }
    this.#channel.send({ type: "hello", version, software: `vsockenc relay ${packageVersion}` });
    this.#opening?.resolve();
    this.#opening = undefined;
  }

  /** @throws ExportProtocolError */
  #noteRevoked(resource: number, generation: number): void {
    this.#revoked.set(resource, generation);
    this.#descriptions.forget(resource);
    if (this.#revoked.size > LIMITS.MAX_ACQUIRED_RESOURCES) {
      throw new ExportProtocolError(
        `more than ${LIMITS.MAX_ACQUIRED_RESOURCES} resources are revoked, which is as many as a connection can hold`,
      );
    }
  }

  #finishRead({
    request,
    slot,
    code,
    text,
    waitUs,
    copyUs,
  }: Extract<ExportMessage, { type: "readDone" }>): void {
    const pending = this.#reads.get(request);
    if (pending === undefined || pending.slot !== slot) {
      throw new ExportProtocolError(`an answer to the unknown read ${request} into slot ${slot}`);
    }
    this.#reads.delete(request);
    clearTimeout(pending.timer);
    if (code === undefined) pending.resolve({ waitUs, copyUs });
    else pending.reject(new ExportRefusedError(pending.resource, code, text));
  }

  #addMemory(id: number, size: number, descriptor: number): void {
    try {
      if (this.#memories.has(id) || this.#memories.size >= LIMITS.MAX_MEMORIES) {
        throw new ExportProtocolError(
          `memory ${id} was sent before, or exceeds the ${LIMITS.MAX_MEMORIES} memories of a connection`,
        );
      }
      const status = memoryStatus(descriptor);
      // Extents are checked against this size: reading a mapping beyond the file's end crashes (SIGBUS).
      if (status.size < size) {
        throw new ExportProtocolError(
          `memory ${id} has ${status.size} bytes, the exporter announced ${size}`,
        );
      }
      this.#memories.set(id, { descriptor, size, identity: status.identity });
    } catch (error) {
      closeDescriptor(descriptor);
      throw error;
    }
  }

  #describe(
    message: Extract<ExportMessage, { type: "acquired" }>,
    { bytes, known }: PendingAcquire,
  ): ExportedResource {
    if (message.known) {
      if (known?.generation === message.generation) return known;
      throw new ExportProtocolError(`resource ${message.resource} is not known, and is not described`);
    }
    const memories = new Map<number, ExportedMemory>();
    const extents = message.extents.map(({ memory: id, offset, length }) => {
      const memory = this.#memories.get(id);
      if (memory === undefined || offset + length > memory.size) {
        throw new ExportProtocolError(`resource ${message.resource} reaches outside memory ${id}`);
      }
      memories.set(id, memory);
      return { fd: memory.descriptor, offset, length };
    });
    const { type: _, request: __, ...resource } = message;
    const described = { ...resource, memories, pages: { extents } };
    if (extents.length > 0) this.#descriptions.add(described, bytes);
    return described;
  }

  #settle(message: Extract<ExportMessage, { type: "acquired" | "refused" }>): void {
    const { request, resource } = message;
    const pending = this.#pending.get(request);
    if (pending === undefined || pending.resource !== resource) {
      throw new ExportProtocolError(`an answer to the unknown request ${request}`);
    }
    if (message.type === "acquired") pending.resolve(this.#describe(message, pending));
    else pending.reject(new ExportRefusedError(resource, message.code, message.text));
    this.#pending.delete(request);
    const deferred = this.#deferred.get(resource);
    if (deferred === undefined) return;
    // Acquired again: the new holder will release it.
    if (message.type === "acquired") deferred.delete(message.generation);
    if (this.#isAwaited(resource)) return;
    this.#deferred.delete(resource);
    for (const old of deferred) this.#channel.send({ type: "release", resource, generation: old });
  }

  #end(error: Error | undefined): void {
    this.#closed = true;
    const reason = error?.message ?? "the exporter has gone";
    for (const { reject } of this.#pending.values()) {
      reject(new ExportClosedError(`the connection to the exporter is closed: ${reason}`));
    }
    this.#pending.clear();
    for (const { timer, reject } of this.#reads.values()) {
      clearTimeout(timer);
      reject(new ExportClosedError(`the connection to the exporter is closed: ${reason}`));
    }
    this.#reads.clear();
    const opening = this.#opening;
    this.#opening = undefined;
    if (opening !== undefined) opening.reject(error ?? new ExportClosedError(reason));
    else this.#events.onClose?.(error);
    for (const { descriptor } of this.#memories.values()) closeDescriptor(descriptor);
    this.#memories.clear();
    this.slots.close();
  }
}
