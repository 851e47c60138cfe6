/**
 * The device's side of a split virtqueue (virtio 1.2, 2.7); the ring logic is os/virtqueue.cc.
 */
import { errorText } from "../../common/error-text.ts";
import type { GuestMemory } from "./guest-memory.ts";
import { type NativeVirtqueue, os, type Popped, type VirtqueueSetup } from "./os-addon.ts";

export type { Popped, VirtqueueSetup };

/** The rings do not lie in the guest's memory, or their setup is impossible. */
export class VirtqueueError extends Error {
  override readonly name = "VirtqueueError";
}

function translated<Result>(body: () => Result): Result {
  try {
    return body();
  } catch (error) {
    throw new VirtqueueError(errorText(error), { cause: error });
  }
}

export class Virtqueue {
  readonly #native: NativeVirtqueue;

  /** @throws VirtqueueError */
  constructor(memory: GuestMemory, setup: VirtqueueSetup) {
    this.#native = translated(() => new os.Virtqueue(memory.native, setup));
  }

  /** The same rings in a new memory table. @throws VirtqueueError */
  rebind(memory: GuestMemory): void {
    translated(() => this.#native.rebind(memory.native));
  }

  /** Entries that wait; more than the ring has if it is broken. */
  get pending(): number {
    return this.#native.pending();
  }

  /** Next entry of the available ring, as GET_VRING_BASE wants it. */
  get nextAvailable(): number {
    return this.#native.nextAvailable();
  }

  /** Takes the next chain; undefined if none waits. At most `maxReadable` of its bytes are copied. */
  pop(maxReadable: number): Popped | undefined {
    return this.#native.pop(maxReadable) ?? undefined;
  }

  /** Gives a chain back with an answer, cut to the room there is. False if its room is not memory. */
  push(head: number, answer: Uint8Array): boolean {
    return this.#native.push(head, answer);
  }

  /** Whether the driver wants a call for what was pushed since the last question. */
  takeNotification(): boolean {
    return this.#native.takeNotification();
  }

  /** Asks the driver to kick for the next entry. True if entries came before it could know. */
  enableKicks(): boolean {
    return this.#native.enableKicks();
  }

  /** Lets the memory go. Nothing else may be called afterwards. */
  close(): void {
    this.#native.close();
  }
}
