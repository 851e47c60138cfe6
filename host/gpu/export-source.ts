/** The GPU's resources and their memories, as its export socket serves them. */
import { packageVersion } from "../../common/package-root.ts";
import { LIMITS } from "../../proto/limits.ts";
import { type ExportSource, type LookUp, NOT_SHAREABLE, type SharedMemory } from "../export/source.ts";
import type { GuestMemory } from "../native/guest-memory.ts";
import { closeDescriptor } from "../native/os-addon.ts";
import type { GpuDevice } from "./device.ts";
import type { Vring } from "./vring.ts";

/**
 * The memories of resources, with numbers for the export protocol that stay the same over stop and cont, when the front
 * end sends the same memory again with fresh descriptors.
 */
export class SharedMemories {
  readonly #byIdentity = new Map<string, SharedMemory>();

  /**
   * Opens the memories of a table that are not known yet.
   *
   * @returns the numbers of its memories, in their order; NOT_SHAREABLE for those beyond MAX_MEMORIES
   */
  register(memory: GuestMemory): readonly number[] {
    return memory.memories().map(({ identity, size }, i) => {
      const known = this.#byIdentity.get(identity);
      if (known !== undefined) return known.id;
      if (this.#byIdentity.size >= LIMITS.MAX_MEMORIES) return NOT_SHAREABLE;
      const id = this.#byIdentity.size + 1;
      this.#byIdentity.set(identity, { id, size, descriptor: memory.openMemory(i) });
      return id;
    });
  }

  get(id: number): SharedMemory | undefined {
    for (const memory of this.#byIdentity.values()) if (memory.id === id) return memory;
    return undefined;
  }

  close(): void {
    for (const { descriptor } of this.#byIdentity.values()) closeDescriptor(descriptor);
    this.#byIdentity.clear();
  }
}

/**
 * @param heads connected ones; a relay learns of them even while they show nothing
 * @param control the control queue: what the guest has queued there is carried out before a look-up
 */
export function exportSource(
  device: GpuDevice,
  memories: SharedMemories,
  heads: number,
  control: Vring,
): ExportSource {
  return {
    software: `vsockenc gpu ${packageVersion}`,
    lookUp: (id) => lookUp(device, id, control.wasStarted),
    memory: (id) => memories.get(id),
    scanouts: () =>
      device.scanouts
        .map((scanout, head) => ({ ...scanout, head }))
        .filter(({ head, resource }) => head < heads || resource !== 0),
    cursors: () =>
      device.cursors.map((cursor, head) => ({ ...cursor, head })).filter(({ image }) => image !== undefined),
    whenSettled: (listener) => control.whenSettled(listener),
  };
}

function lookUp(device: GpuDevice, id: number, wasStarted: boolean): LookUp {
  const refused = (
    code: "RESOURCE_UNKNOWN" | "DEVICE_NOT_READY" | "RESOURCE_WITHOUT_BACKING",
    text: string,
  ) => ({ kind: "refused", refusal: { code, text } }) as const;
  const resource = device.resource(id);
  if (resource === undefined) {
    return wasStarted
      ? refused("RESOURCE_UNKNOWN", `the guest has no resource ${id} on this GPU`)
      : refused("DEVICE_NOT_READY", "no driver in the guest has started the GPU");
  }
  const { backing } = resource;
  if (backing === undefined) {
    return refused("RESOURCE_WITHOUT_BACKING", `resource ${id} has no pages at the moment`);
  }
  return { kind: "found", resource: { ...resource, backing } };
}
