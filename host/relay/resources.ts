/**
 * The resources of one VM, as the relay may read them.
 *
 * One connection to the VM's exporter serves all ports of the VM. It is made again when it breaks; whoever held a
 * resource then is told that it is revoked. An exporter knows one hold for each resource and connection, so users
 * within the relay are counted here, and the hold goes back with the last of them.
 */
import type { Logger } from "pino";
import { RequestError } from "./errors.ts";
import { ExportClient, type ExportedResource } from "./export-client.ts";

const RETRY_MS = 500;

/** A resource that somebody in the relay reads. */
export interface HeldResource {
  readonly resource: ExportedResource;
  /** Ends this use; after the pixels are no longer mapped. */
  release(): void;
}

/** Where buffers get their pixels from; undefined in a link that belongs to no VM. */
export interface ResourceSource {
  readonly available: boolean;
  /**
   * @param onRevoked the guest frees the resource, or the exporter has gone: unmap and release soon.
   * @throws RequestError NO_EXPORTER or NO_SUCH_RESOURCE
   */
  acquire(resource: number, onRevoked: () => void): Promise<HeldResource>;
}

interface Hold {
  readonly resource: ExportedResource;
  readonly users: Set<() => void>;
}

export class VmResources implements ResourceSource {
  readonly #path: string;
  readonly #log: Logger;
  readonly #holds = new Map<string, Hold>();
  #client: ExportClient | undefined;
  #retryTimer: NodeJS.Timeout | undefined;
  #closed = false;
  #reported: string | undefined;

  /** @param path the exporter's socket (`vsockenc gpu --export-path`) */
  constructor(path: string, log: Logger) {
    this.#path = path;
    this.#log = log;
  }

  open(): void {
    void this.#connect();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retryTimer);
    this.#client?.close();
  }

  get available(): boolean {
    return this.#client !== undefined;
  }

  async acquire(id: number, onRevoked: () => void): Promise<HeldResource> {
    const client = this.#client;
    if (client === undefined) {
      throw new RequestError(
        "NO_EXPORTER",
        `nothing answers at the VM's export socket ${this.#path}: is \`vsockenc gpu\` running for this VM?`,
      );
    }
    const resource = await client.acquire(id);
    const key = `${resource.resource}:${resource.generation}`;
    const hold = this.#holds.get(key) ?? { resource, users: new Set() };
    this.#holds.set(key, hold);
    hold.users.add(onRevoked);
    return {
      resource,
      release: () => {
        if (!hold.users.delete(onRevoked) || hold.users.size > 0) return;
        if (this.#holds.get(key) === hold) this.#holds.delete(key);
        client.release(resource.resource, resource.generation);
      },
    };
  }

  async #connect(): Promise<void> {
    try {
      const client = await ExportClient.connect(this.#path, {
        onRevoke: (resource, generation) => this.#revoke(`${resource}:${generation}`),
        onScanout: () => undefined,
        onDamage: () => undefined,
        onClose: () => this.#disconnected(),
      });
      if (this.#closed) {
        client.close();
        return;
      }
      this.#client = client;
      this.#reported = undefined;
      this.#log.info({ path: this.#path }, "connected to the exporter");
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (this.#reported !== reason) {
        this.#log.warn({ path: this.#path }, `no exporter yet, trying again: ${reason}`);
        this.#reported = reason;
      }
      this.#retry();
    }
  }

  #disconnected(): void {
    if (this.#client === undefined) return;
    this.#client = undefined;
    this.#log.warn({ path: this.#path }, "the exporter has gone; its resources are lost");
    for (const key of [...this.#holds.keys()]) this.#revoke(key);
    this.#retry();
  }

  #retry(): void {
    if (this.#closed) return;
    this.#retryTimer = setTimeout(() => void this.#connect(), RETRY_MS);
  }

  #revoke(key: string): void {
    const hold = this.#holds.get(key);
    if (hold === undefined) return;
    this.#holds.delete(key);
    for (const revoked of [...hold.users]) revoked();
  }
}
