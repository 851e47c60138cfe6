/**
 * An exporter of a program's own memory, served as a VM's is: pictures for tests and benchmarks without a VM. A test
 * makes resources, writes pixels, and names the ids on a link that is bound to this exporter's socket.
 */
import type { Logger } from "pino";
import { ExportServer } from "../../../host/export/server.ts";
import type { ExportableResource, LookUp } from "../../../host/export/source.ts";
import { closeDescriptor, createMemory, reopenReadOnly, writeMemory } from "../../../host/native/os-addon.ts";
import type { Extent } from "../../../proto/export.ts";
import { PACKED_PIXEL_BYTES, VIRTIO_BGRX } from "../../../proto/formats.ts";

/** The smallest unit that can be mapped on every system that is supported. */
export const PAGE_BYTES = 4096;

/** A resource to make. */
export interface ResourceOptions {
  /** In pixels; the format is B8G8R8X8. */
  readonly width: number;
  readonly height: number;
  /** Default: four for each pixel. */
  readonly bytes?: number;
  /**
   * Default: contiguous, in one run. Scattered: no page lies behind the one before it, as in a guest whose memory is
   * fragmented.
   */
  readonly placement?: "contiguous" | "scattered";
}

const MEMORY_ID = 1;

export class MemfdExporter {
  readonly #descriptor: number;
  readonly #readOnly: number;
  readonly #usedPages: Uint8Array;
  readonly #resources = new Map<number, ExportableResource>();
  readonly #server: ExportServer;
  #generation = 0;

  /**
   * @param path of the export socket
   * @param bytes for all resources together
   * @throws SocketError
   */
  constructor({ path, bytes }: { readonly path: string; readonly bytes: number }, log: Logger) {
    const size = Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
    this.#usedPages = new Uint8Array(size / PAGE_BYTES);
    this.#descriptor = createMemory("vsockenc", size);
    this.#readOnly = reopenReadOnly(this.#descriptor);
    this.#server = new ExportServer(
      { path, users: [] },
      {
        software: "vsockenc memfd",
        lookUp: (id) => this.#lookUp(id),
        memory: (id) => (id === MEMORY_ID ? { id, size, descriptor: this.#readOnly } : undefined),
        scanouts: () => [],
        whenSettled: (listener) => listener(),
      },
      log,
    );
  }

  /** How many resources the relays hold now. */
  get held(): number {
    return this.#server.held;
  }

  /** Makes a resource; its bytes are those that the pages happen to hold. @throws Error without room for it */
  create(id: number, options: ResourceOptions): void {
    const { width, height, bytes = width * height * PACKED_PIXEL_BYTES, placement = "contiguous" } = options;
    if (this.#resources.has(id)) throw new Error(`resource ${id} exists: free it first`);
    const pages = Math.ceil(bytes / PAGE_BYTES);
    const extents = placement === "contiguous" ? this.#run(pages) : this.#descending(pages);
    this.#mark(extents, 1);
    this.#generation += 1;
    const backing = { generation: this.#generation, extents };
    this.#resources.set(id, { width, height, format: VIRTIO_BGRX, backing });
  }

  /** Writes pixels into a resource, from `offset` of its bytes on. @throws Error if they do not fit */
  write(id: number, pixels: Uint8Array, offset = 0): void {
    let start = 0;
    for (const extent of this.#existing(id).backing.extents) {
      const from = Math.max(offset, start);
      const to = Math.min(offset + pixels.length, start + extent.length);
      if (from < to) {
        const piece = pixels.subarray(from - offset, to - offset);
        writeMemory(this.#descriptor, extent.offset + from - start, piece);
      }
      start += extent.length;
    }
    if (offset + pixels.length > start) throw new Error(`resource ${id} has only ${start} bytes`);
  }

  /** Frees a resource: its id at once, its pages when every reader has released it, or after REVOKE_HOLD_MS. */
  async free(id: number): Promise<void> {
    const { backing } = this.#existing(id);
    this.#resources.delete(id);
    await this.#server.revoke(id, backing);
    this.#mark(backing.extents, 0);
  }

  /** Ends the service; readers keep what they have mapped. */
  close(): void {
    this.#server.close();
    closeDescriptor(this.#readOnly);
    closeDescriptor(this.#descriptor);
  }

  #existing(id: number): ExportableResource {
    const resource = this.#resources.get(id);
    if (resource === undefined) throw new Error(`unknown resource ${id}`);
    return resource;
  }

  #lookUp(id: number): LookUp {
    const resource = this.#resources.get(id);
    if (resource !== undefined) return { kind: "found", resource };
    return { kind: "refused", refusal: { code: "RESOURCE_UNKNOWN", text: `unknown resource ${id}` } };
  }

  #mark(extents: readonly Extent[], used: 0 | 1): void {
    for (const { offset, length } of extents) {
      this.#usedPages.fill(used, offset / PAGE_BYTES, (offset + length) / PAGE_BYTES);
    }
  }

  #run(pages: number): Extent[] {
    let start = 0;
    for (const [page, used] of this.#usedPages.entries()) {
      if (used === 1) start = page + 1;
      else if (page + 1 - start === pages) {
        return [{ memory: MEMORY_ID, offset: start * PAGE_BYTES, length: pages * PAGE_BYTES }];
      }
    }
    throw new Error(`no run of ${pages} free pages`);
  }

  #descending(pages: number): Extent[] {
    const free = [...this.#usedPages.keys()].filter((page) => this.#usedPages[page] === 0);
    if (free.length < pages) throw new Error(`fewer than ${pages} free pages`);
    return free
      .slice(-pages)
      .reverse()
      .map((page) => ({ memory: MEMORY_ID, offset: page * PAGE_BYTES, length: PAGE_BYTES }));
  }
}
