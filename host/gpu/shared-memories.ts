/**
 * The memories of resources, with numbers for the export protocol that stay the same over stop and cont, when the front
 * end sends the same memory again with fresh descriptors.
 */
import { LIMITS } from "../../proto/limits.ts";
import { NOT_SHAREABLE, type SharedMemory } from "../export/source.ts";
import { closeDescriptor } from "../native/descriptor.ts";
import type { GuestMemory } from "../native/guest-memory.ts";

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
