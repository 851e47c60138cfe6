/**
 * The memfd exporter: pictures of a program on the host, in plain shared memory, served like a VM's.
 *
 * It is for whatever has pixels and no virtual machine: tests, benchmarks, and programs that draw and want them
 * encoded. A program creates resources, writes pixels and names the ids on a link that is bound to this exporter's
 * socket. Everything behind the socket is the same as for a VM, so what is measured or tested here holds there.
 *
 * It is a library and has no command: a process that only held memory would have nobody to write into it.
 */
import type { Logger } from "pino";
import { packageVersion } from "../../../common/package-root.ts";
import { ExportServer } from "../../../host/export/server.ts";
import type { ExportableResource, ExportSource, LookUp, SharedMemory } from "../../../host/export/source.ts";
import {
  closeDescriptor,
  createMemory,
  reopenReadOnly,
  writeMemory,
} from "../../../host/native/descriptor.ts";
import { PAGE_BYTES, PageAllocator, type Placement } from "./pages.ts";

/** A resource cannot be made, written or freed; the message says why. */
export class MemfdExporterError extends Error {
  override readonly name = "MemfdExporterError";
}

export interface MemfdExporterOptions {
  /** Of the export socket; it has mode 0600. */
  readonly path: string;
  /** Bytes for all resources together; rounded up to pages. */
  readonly bytes: number;
  /** Users that may connect, besides our own and root. */
  readonly users?: readonly number[];
}

/** A resource to make. */
export interface ResourceOptions {
  /** Pixels, of what is shown as a head; the layout of a stream is the reader's to say. */
  readonly width: number;
  readonly height: number;
  /** Default: four for each pixel. */
  readonly bytes?: number;
  /** VIRTIO_GPU_FORMAT_*; default: B8G8R8X8. */
  readonly format?: number;
  /** Default: contiguous. */
  readonly placement?: Placement;
}

interface MemfdResource extends ExportableResource {
  readonly bytes: number;
}

const MEMORY_ID = 1;
const FORMAT_B8G8R8X8 = 2;
const MAX_RESOURCES = 16384;

export class MemfdExporter {
  /** Of the memory, for programs that map it themselves; readable and writable, closed by close(). */
  readonly descriptor: number;
  readonly #memory: SharedMemory;
  readonly #pages: PageAllocator;
  readonly #resources = new Map<number, MemfdResource>();
  readonly #server: ExportServer;
  #generation = 0;
  #closed = false;

  /** @throws SocketError, or the system's error when there is not that much memory */
  constructor({ path, bytes, users = [] }: MemfdExporterOptions, log: Logger) {
    const pages = Math.ceil(bytes / PAGE_BYTES);
    if (!Number.isSafeInteger(pages * PAGE_BYTES) || pages < 1) {
      throw new MemfdExporterError(`a memory of ${bytes} bytes cannot be made: give at least 1`);
    }
    const size = pages * PAGE_BYTES;
    this.#pages = new PageAllocator(MEMORY_ID, pages);
    this.descriptor = createMemory("vsockenc", size);
    this.#memory = { id: MEMORY_ID, size, descriptor: reopenReadOnly(this.descriptor) };
    const source: ExportSource = {
      software: `vsockenc memfd ${packageVersion}`,
      lookUp: (id) => this.#lookUp(id),
      memory: (id) => (id === MEMORY_ID ? this.#memory : undefined),
      scanouts: () => [],
      whenSettled: (listener) => listener(),
    };
    try {
      this.#server = new ExportServer({ path, users }, source, log);
    } catch (error) {
      this.#closeMemory();
      throw error;
    }
  }

  /** How many resources the relays hold now. */
  get held(): number {
    return this.#server.held;
  }

  /**
   * Makes a resource; its bytes are whatever the pages hold.
   *
   * @param id from 1; one that was freed may come again
   * @returns where its bytes are in the memory, for programs that map it
   * @throws MemfdExporterError when the id is taken or there is no room
   */
  create(id: number, options: ResourceOptions): ExportableResource["backing"]["extents"] {
    const { width, height, format = FORMAT_B8G8R8X8, placement = "contiguous" } = options;
    const bytes = options.bytes ?? width * height * 4;
    if (!Number.isInteger(id) || id < 1 || id > 0xffffffff) {
      throw new MemfdExporterError(`resource ${id}: an id is a whole number from 1 to 2^32-1`);
    }
    if (!Number.isSafeInteger(bytes) || bytes < 1) {
      throw new MemfdExporterError(`resource ${id}: ${bytes} bytes; give at least 1`);
    }
    if (this.#resources.has(id)) throw new MemfdExporterError(`resource ${id} exists: free it first`);
    if (this.#resources.size >= MAX_RESOURCES) {
      throw new MemfdExporterError(`there are ${MAX_RESOURCES} resources: free some`);
    }
    const extents = this.#pages.take(Math.ceil(bytes / PAGE_BYTES), placement);
    if (extents === undefined) {
      throw new MemfdExporterError(
        `no room for ${bytes} bytes (${placement}) in the memory of ${this.#memory.size}: make it larger, or free resources`,
      );
    }
    this.#generation += 1;
    const backing = { generation: this.#generation, extents };
    this.#resources.set(id, { width, height, format, bytes, backing });
    return extents;
  }

  /**
   * Writes pixels into a resource.
   *
   * @param offset in the resource's bytes
   * @throws MemfdExporterError when it does not exist or they do not fit
   */
  write(id: number, pixels: Uint8Array, offset = 0): void {
    const { bytes, backing } = this.#existing(id);
    if (offset < 0 || offset + pixels.length > bytes) {
      throw new MemfdExporterError(
        `resource ${id} has ${bytes} bytes, so ${pixels.length} from ${offset} on do not fit`,
      );
    }
    let start = 0;
    for (const extent of backing.extents) {
      const from = Math.max(offset, start);
      const to = Math.min(offset + pixels.length, start + extent.length);
      if (from < to) {
        const piece = pixels.subarray(from - offset, to - offset);
        writeMemory(this.descriptor, extent.offset + from - start, piece);
      }
      start += extent.length;
    }
  }

  /**
   * Frees a resource. Its id is free at once; its pages are when every reader has let go, for which the promise
   * waits, REVOKE_HOLD_MS at the most.
   *
   * @throws MemfdExporterError when it does not exist
   */
  async free(id: number): Promise<void> {
    const { backing } = this.#existing(id);
    this.#resources.delete(id);
    await this.#server.revoke(id, backing);
    this.#pages.give(backing.extents);
  }

  /** Ends the service; readers keep what they have mapped. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#server.close();
    this.#closeMemory();
  }

  #closeMemory(): void {
    closeDescriptor(this.#memory.descriptor);
    closeDescriptor(this.descriptor);
  }

  #existing(id: number): MemfdResource {
    const resource = this.#resources.get(id);
    if (resource === undefined || this.#closed) throw new MemfdExporterError(`there is no resource ${id}`);
    return resource;
  }

  #lookUp(id: number): LookUp {
    const resource = this.#resources.get(id);
    if (resource !== undefined) return { kind: "found", resource };
    const text = `there is no resource ${id} in this memory`;
    return { kind: "refused", refusal: { code: "RESOURCE_UNKNOWN", text } };
  }
}
