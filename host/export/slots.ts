/**
 * The slots of one export connection: memories that the exporter copies rendered resources into.
 *
 * The relay numbers them and says which one a Read fills; the exporter makes the memory and sends its descriptor with
 * Slot. Only the taker of a slot reads it and has it filled, so a picture stays in it until it is freed.
 */
import { ExportProtocolError } from "../../proto/export.ts";
import { LIMITS } from "../../proto/limits.ts";
import { closeDescriptor, memoryStatus } from "../native/os-addon.ts";

export interface SlotMemory {
  /** Read-only; open until the slot is discarded or has another memory. */
  readonly descriptor: number;
  readonly bytes: number;
}

export class Slots {
  readonly #free = Array.from({ length: LIMITS.MAX_SLOTS }, (_, index) => index);
  readonly #memories = new Map<number, SlotMemory>();
  readonly #sendFree: (slot: number, discard: boolean) => void;
  #closed = false;

  constructor(sendFree: (slot: number, discard: boolean) => void) {
    this.#sendFree = sendFree;
  }

  /** Takes unused slots, all or none; undefined: there are not as many. */
  take(count: number): readonly number[] | undefined {
    return this.#free.length < count ? undefined : this.#free.splice(0, count);
  }

  /** The memory that the last Read of the slot filled. */
  memory(slot: number): SlotMemory | undefined {
    return this.#memories.get(slot);
  }

  /** The taker keeps the slot, and no longer needs the picture in it. */
  free(slot: number): void {
    if (!this.#closed) this.#sendFree(slot, false);
  }

  /** The taker no longer needs the slot. */
  discard(slot: number): void {
    if (this.#closed) return;
    this.#sendFree(slot, true);
    this.#drop(slot);
    this.#free.push(slot);
  }

  /**
   * Takes over the descriptor of a Slot message.
   *
   * @throws ExportProtocolError
   */
  setMemory(slot: number, bytes: number, descriptor: number): void {
    try {
      if (slot >= LIMITS.MAX_SLOTS || this.#free.includes(slot)) {
        throw new ExportProtocolError(`a memory for slot ${slot}, which is not in use`);
      }
      // Reading a mapping beyond the file's end crashes (SIGBUS).
      const { size } = memoryStatus(descriptor);
      if (bytes === 0 || size < bytes) {
        throw new ExportProtocolError(`slot ${slot} has ${size} bytes, the exporter announced ${bytes}`);
      }
    } catch (error) {
      closeDescriptor(descriptor);
      throw error;
    }
    this.#drop(slot);
    this.#memories.set(slot, { descriptor, bytes });
  }

  /** The connection is over. */
  close(): void {
    this.#closed = true;
    for (const slot of [...this.#memories.keys()]) this.#drop(slot);
  }

  #drop(slot: number): void {
    const memory = this.#memories.get(slot);
    if (memory === undefined) return;
    this.#memories.delete(slot);
    closeDescriptor(memory.descriptor);
  }
}
