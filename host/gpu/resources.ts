/**
 * The guest's 2D resources. A resource has no copy of its picture: the picture is its backing, guest pages, described as
 * extents of shareable memories, which stay valid while the VM is stopped and continued.
 *
 * The guest chooses the ids and reuses them. Readers hold pages, so every backing gets a generation that is never used
 * again.
 */
import { LIMITS } from "../../proto/limits.ts";
import { type AddressRange, RANGE_NUMBERS } from "../native/guest-memory.ts";
import { Backing } from "./backing.ts";
import { CommandError, type ControlCommand } from "./commands.ts";
import { GPU_LIMITS } from "./limits.ts";

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

/** The ranges of a resource that can be a pointer, if they are few enough. */
function pointerRanges({ width, height }: Resource, ranges: Float64Array): AddressRange[] | undefined {
  const count = ranges.length / RANGE_NUMBERS;
  const canBePointer = width === LIMITS.CURSOR_SIDE && height === LIMITS.CURSOR_SIDE;
  if (!canBePointer || count > MAX_POINTER_RANGES) return undefined;
  return Array.from({ length: count }, (_, i) => ({
    address: ranges[i * RANGE_NUMBERS] ?? 0,
    length: ranges[i * RANGE_NUMBERS + 1] ?? 0,
  }));
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

  /**
   * @param ranges the driver's, as GuestMemory.locate takes them
   * @param runs what it has found, in memories of these numbers
   * @throws CommandError when the bounds of all resources together are reached
   */
  attach(
    resource: Resource,
    ranges: Float64Array,
    { runs, memoryIds }: { readonly runs: Float64Array; readonly memoryIds: readonly number[] },
  ): void {
    const backing = new Backing(this.#generations + 1, runs, memoryIds, pointerRanges(resource, ranges));
    const { TOTAL_EXTENTS, TOTAL_BACKING_BYTES } = GPU_LIMITS;
    const extents = this.#extents + backing.count;
    const bytes = this.#bytes + backing.bytes;
    if (extents > TOTAL_EXTENTS || bytes > TOTAL_BACKING_BYTES) {
      throw new CommandError(
        "ERR_OUT_OF_MEMORY",
        `with the backing of resource ${resource.id}, all resources have ${extents} runs of memory and ${bytes} bytes, at most TOTAL_EXTENTS ${TOTAL_EXTENTS} and TOTAL_BACKING_BYTES ${TOTAL_BACKING_BYTES}: free some`,
      );
    }
    this.#generations++;
    this.#extents = extents;
    this.#bytes = bytes;
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
    this.#extents -= backing.count;
    this.#bytes -= backing.bytes;
  }
}
