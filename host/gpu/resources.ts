/**
 * The guest's 2D resources. A resource has no copy of its picture: the picture is its backing, guest pages, told as
 * extents of shareable memories, which stay true while the VM is stopped and continued.
 *
 * Ids are the guest's and are used again; a generation, never used twice, is given to every backing, because it is
 * the pages that readers hold.
 */
import type { Extent } from "../../proto/export.ts";
import { LIMITS } from "../../proto/limits.ts";
import type { AddressRange } from "../native/guest-memory.ts";
import { type ErrorResponse, FORMATS, Response } from "./constants.ts";
import { GPU_LIMITS } from "./limits.ts";

export interface Backing {
  readonly generation: number;
  /** In order. Memory 0: not shareable. */
  readonly extents: readonly Extent[];
  readonly bytes: number;
  /** Where they are in the guest's memory; of a resource that can be a pointer, and in no more than some pages. */
  readonly addresses?: readonly AddressRange[];
}

export interface Resource {
  readonly id: number;
  /** In pixels. */
  readonly width: number;
  readonly height: number;
  /** VIRTIO_GPU_FORMAT_*. */
  readonly format: number;
  readonly backing: Backing | undefined;
}

/** A pointer's image takes four pages; drivers attach page by page. */
const MAX_POINTER_RANGES = 16;

const canBePointer = ({ width, height }: Resource): boolean =>
  width === LIMITS.CURSOR_SIDE && height === LIMITS.CURSOR_SIDE;

/** A command cannot be carried out; `response` is the virtio-gpu error for it. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly response: ErrorResponse;

  constructor(response: ErrorResponse, text: string) {
    super(text);
    this.response = response;
  }
}

export class ResourceTable {
  readonly #resources = new Map<number, Resource>();
  #generations = 0;
  #extents = 0;
  #bytes = 0;

  get(id: number): Resource | undefined {
    return this.#resources.get(id);
  }

  /** @throws CommandError ERR_INVALID_RESOURCE_ID */
  require(id: number): Resource {
    const resource = this.#resources.get(id);
    if (resource === undefined) {
      throw new CommandError(Response.ERR_INVALID_RESOURCE_ID, `there is no resource ${id}`);
    }
    return resource;
  }

  all(): IterableIterator<Resource> {
    return this.#resources.values();
  }

  /** RESOURCE_CREATE_2D, virtio 1.2 5.7.6.8. @throws CommandError */
  create(id: number, width: number, height: number, format: number): void {
    if (id === 0 || this.#resources.has(id)) {
      throw new CommandError(Response.ERR_INVALID_RESOURCE_ID, `resource ${id} exists, or is 0`);
    }
    const { DIMENSION, RESOURCES } = GPU_LIMITS;
    if (width === 0 || height === 0 || width > DIMENSION || height > DIMENSION || !FORMATS.has(format)) {
      throw new CommandError(
        Response.ERR_INVALID_PARAMETER,
        `resource ${id}: ${width}x${height} of format ${format} is not possible`,
      );
    }
    if (this.#resources.size >= RESOURCES) {
      throw new CommandError(Response.ERR_OUT_OF_MEMORY, `more than ${RESOURCES} resources`);
    }
    this.#resources.set(id, { id, width, height, format, backing: undefined });
  }

  /** @throws CommandError when the bounds of all resources together are reached */
  attach(resource: Resource, extents: readonly Extent[], ranges: readonly AddressRange[]): void {
    const bytes = extents.reduce((sum, { length }) => sum + length, 0);
    if (
      this.#extents + extents.length > GPU_LIMITS.TOTAL_EXTENTS ||
      this.#bytes + bytes > GPU_LIMITS.TOTAL_BACKING_BYTES
    ) {
      throw new CommandError(Response.ERR_OUT_OF_MEMORY, "too much memory is attached to resources");
    }
    this.#extents += extents.length;
    this.#bytes += bytes;
    const backing = { generation: ++this.#generations, extents, bytes };
    const addresses =
      canBePointer(resource) && ranges.length <= MAX_POINTER_RANGES ? { addresses: ranges } : {};
    this.#resources.set(resource.id, { ...resource, backing: { ...backing, ...addresses } });
  }

  detach(resource: Resource): void {
    this.#account(resource);
    this.#resources.set(resource.id, { ...resource, backing: undefined });
  }

  remove(resource: Resource): void {
    this.#account(resource);
    this.#resources.delete(resource.id);
  }

  #account({ backing }: Resource): void {
    if (backing === undefined) return;
    this.#extents -= backing.extents.length;
    this.#bytes -= backing.bytes;
  }
}
