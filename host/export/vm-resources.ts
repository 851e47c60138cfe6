/**
 * The resources of one VM, for the relay to read.
 *
 * One connection to the VM's exporter serves all ports of the VM. It is re-opened when it breaks; users that hold a
 * resource then get its revocation. An exporter counts one hold for each resource and connection, so the users within the
 * relay are counted here, and the last one releases the hold.
 */

import type { Logger } from "pino";
import { errorText } from "../../common/error-text.ts";
import type { Readable } from "../../proto/export.ts";
import { LIMITS } from "../../proto/limits.ts";
import type { PictureBudget, ResourceBytes, ResourceSurface } from "../native/picture.ts";
import {
  ExportClient,
  ExportClosedError,
  type ExportedResource,
  ExportRefusedError,
  type ReadTimes,
  type ResourceUse,
} from "./client.ts";
import { Heads } from "./heads.ts";
import type { Slots } from "./slots.ts";

const RETRY_MS = 500;

/** A resource whose pixels the exporter copies into a slot at each read. */
export interface ReadableResource {
  readonly readable: Readable;
  /** Those of the exporter's connection, common to all streams of the VM. */
  readonly slots: Slots;
  /** @throws ExportRefusedError, ExportClosedError */
  read(slot: number): Promise<ReadTimes>;
}

/** A resource in use by the relay. */
export interface HeldResource {
  /** In pixels. */
  readonly width: number;
  readonly height: number;
  /** VIRTIO_GPU_FORMAT_*. */
  readonly format: number;
  /** Descriptors stay open as long as the exporter's connection; map them before anything else is awaited. */
  readonly bytes: ResourceBytes | ResourceSurface | ReadableResource;
  /** Ends this use; after the pixels are no longer mapped. */
  release(): void;
}

/**
 * Gives the descriptor of a new connection to the exporter.
 *
 * @throws SocketError, or rejects with it, if nothing answers
 */
export type ConnectExporter = () => number | Promise<number>;

/** Where buffers get their pixels from; undefined in a link that belongs to no VM. */
export interface ResourceSource {
  readonly available: boolean;
  /** The VM's, for pictures in its resources. */
  readonly budget: PictureBudget;
  /**
   * @param onRevoked the guest frees the resource, or the exporter has gone: unmap and release soon.
   * @param use without it: the exporter decides by how the resource was made, and all bytes are needed
   * @throws ExportClosedError without an exporter, ExportRefusedError where it has no such resource
   */
  acquire(resource: number, onRevoked: () => void, use?: ResourceUse): Promise<HeldResource>;
}

/** The users of one hold, by their callbacks for its revocation. */
type Users = Set<() => void>;

const holdKey = (resource: number, generation: number): string => `${resource}:${generation}`;

export class VmResources implements ResourceSource {
  /** What the VM displays. */
  readonly heads = new Heads();
  readonly budget: PictureBudget;
  readonly #connectExporter: ConnectExporter;
  readonly #log: Logger;
  readonly #holds = new Map<string, Users>();
  /** Revoked before the Acquire's answer had reached its caller. Kept only while an Acquire is unanswered. */
  readonly #revokedEarly = new Set<string>();
  #asking = 0;
  /** Counts resets of the guest's GPU: what was acquired before one is held no longer. */
  #resets = 0;
  #client: ExportClient | undefined;
  #retryTimer: NodeJS.Timeout | undefined;
  #closed = false;
  #reported: string | undefined;

  constructor(connectExporter: ConnectExporter, budget: PictureBudget, log: Logger) {
    this.budget = budget;
    this.#connectExporter = connectExporter;
    this.#log = log;
  }

  /** Connects, again and again. Resolves when the first attempt has succeeded or failed. */
  async open(): Promise<void> {
    await this.#connect();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retryTimer);
    this.#client?.close();
  }

  get available(): boolean {
    return this.#client !== undefined;
  }

  async acquire(id: number, onRevoked: () => void, use?: ResourceUse): Promise<HeldResource> {
    const client = this.#client;
    if (client === undefined) {
      throw new ExportClosedError(
        `nothing answers at the VM's export socket: is \`vsockenc gpu\`, or QEMU with vsockenc's exporter, running for this VM?`,
      );
    }
    const resource = await this.#ask(client, id, use);
    const { generation, width, height, format } = resource;
    const key = holdKey(id, generation);
    const users = this.#holds.get(key) ?? new Set();
    this.#holds.set(key, users.add(onRevoked));
    return {
      ...{ width, height, format },
      bytes: bytesOf(client, resource),
      release: () => {
        if (!users.delete(onRevoked) || users.size > 0) return;
        if (this.#holds.get(key) === users) this.#holds.delete(key);
        client.release(id, generation);
      },
    };
  }

  async #ask(client: ExportClient, id: number, use: ResourceUse | undefined): Promise<ExportedResource> {
    const resets = this.#resets;
    this.#asking += 1;
    try {
      const resource = await client.acquire(id, use);
      const isHeld = resets === this.#resets && !this.#revokedEarly.has(holdKey(id, resource.generation));
      if (isHeld) return resource;
      client.release(id, resource.generation);
      throw new ExportRefusedError(id, "RESOURCE_UNKNOWN", "the guest has just freed it");
    } finally {
      this.#asking -= 1;
      if (this.#asking === 0) this.#revokedEarly.clear();
    }
  }

  async #connect(): Promise<void> {
    try {
      const client = await ExportClient.open(await this.#connectExporter(), {
        onRevoke: (resource, generation) => this.#revoke(holdKey(resource, generation)),
        onReset: () => {
          this.#resets += 1;
          this.#revokeAll();
        },
        onScanout: (head, resource, rectangle) => this.heads.scanout(head, { resource, rectangle }),
        onDamage: (head, rectangle) => this.heads.damage(head, rectangle),
        onCursorImage: (head, image) => this.heads.cursorImage(head, image),
        onCursorPosition: (head, x, y) => this.heads.cursorPosition(head, x, y),
        onClose: () => this.#disconnected(),
      });
      if (this.#closed) {
        client.close();
        return;
      }
      this.#client = client;
      this.#reported = undefined;
      this.#log.info("connected to the exporter");
    } catch (error) {
      const reason = errorText(error);
      if (this.#reported !== reason) {
        this.#log.warn(`no exporter yet, trying again: ${reason}`);
        this.#reported = reason;
      }
      this.#retry();
    }
  }

  #disconnected(): void {
    if (this.#client === undefined) return;
    this.#client = undefined;
    if (!this.#closed) this.#log.warn("the exporter has gone; its resources are lost");
    this.#revokeAll();
    this.heads.lost();
    this.#retry();
  }

  #retry(): void {
    if (this.#closed) return;
    this.#retryTimer = setTimeout(() => void this.#connect(), RETRY_MS);
  }

  #revokeAll(): void {
    for (const key of [...this.#holds.keys()]) this.#revoke(key);
  }

  #revoke(key: string): void {
    const users = this.#holds.get(key);
    if (users === undefined) {
      // An exporter revokes only what is held.
      const isBounded = this.#revokedEarly.size < LIMITS.MAX_ACQUIRED_RESOURCES;
      if (this.#asking > 0 && isBounded) this.#revokedEarly.add(key);
      return;
    }
    this.#holds.delete(key);
    for (const revoked of [...users]) revoked();
  }
}

function bytesOf(client: ExportClient, resource: ExportedResource): HeldResource["bytes"] {
  const { pages, surface, readable } = resource;
  if (readable !== undefined) {
    return { readable, slots: client.slots, read: (slot) => client.read(resource, slot) };
  }
  if (surface !== undefined) return { surface };
  return pages;
}
