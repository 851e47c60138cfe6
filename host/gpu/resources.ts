/**
 * The guest's 2D resources. A resource has no copy of its picture: the picture is its backing, guest pages, described as
 * extents of shareable memories, which stay valid while the VM is stopped and continued.
 *
 * The guest chooses the ids and reuses them. Readers hold pages, so every backing gets a generation that is never used
 * again.
 */
import type { Extent } from "../../proto/export.ts";
import { LIMITS } from "../../proto/limits.ts";
import type { AddressRange } from "../native/guest-memory.ts";
import { CommandError, type ControlCommand } from "./commands.ts";
import { GPU_LIMITS } from "./limits.ts";

export interface Backing {
  readonly generation: number;
  /** In order. Memory 0: not shareable. */
  readonly extents: readonly Extent[];
  readonly bytes: number;
  /** Guest addresses of the bytes; only of a resource that can be a pointer, in at most MAX_POINTER_RANGES. */
  readonly addresses: readonly AddressRange[] | undefined;
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

/** A pointer's image takes four pages; some drivers attach page by page. */
const MAX_POINTER_RANGES = 16;

const canBePointer = ({ width, height }: Resource): boolean =>
  width === LIMITS.CURSOR_SIDE && height === LIMITS.CURSOR_SIDE;

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
      throw new CommandError("ERR_INVALID_RESOURCE_ID", `unknown resource ${id}`);
    }
    return resource;
  }

  all(): IterableIterator<Resource> {
    return this.#resources.values();
  }

  /** RESOURCE_CREATE_2D, virtio 1.2 5.7.6.8. @throws CommandError */
  create({ resource: id, width, height, format }: Extract<ControlCommand, { type: "create" }>): void {
    if (this.#resources.has(id)) {
      throw new CommandError("ERR_INVALID_RESOURCE_ID", `resource ${id} exists`);
    }
    const { RESOURCES } = GPU_LIMITS;
    if (this.#resources.size >= RESOURCES) {
      throw new CommandError("ERR_OUT_OF_MEMORY", `more than ${RESOURCES} resources`);
    }
    this.#resources.set(id, { id, width, height, format, backing: undefined });
  }

  /** @throws CommandError when the bounds of all resources together are reached */
  attach(resource: Resource, extents: readonly Extent[], ranges: readonly AddressRange[]): void {
    const bytes = extents.reduce((sum, { length }) => sum + length, 0);
    const { TOTAL_EXTENTS, TOTAL_BACKING_BYTES } = GPU_LIMITS;
    if (this.#extents + extents.length > TOTAL_EXTENTS || this.#bytes + bytes > TOTAL_BACKING_BYTES) {
      throw new CommandError(
        "ERR_OUT_OF_MEMORY",
        `all backings together: more than ${TOTAL_EXTENTS} runs or ${TOTAL_BACKING_BYTES} bytes`,
      );
    }
    this.#extents += extents.length;
    this.#bytes += bytes;
    const addresses = canBePointer(resource) && ranges.length <= MAX_POINTER_RANGES ? ranges : undefined;
    const backing = { generation: ++this.#generations, extents, bytes, addresses };
    this.#resources.set(resource.id, { ...resource, backing });
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
