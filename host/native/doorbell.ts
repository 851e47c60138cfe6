/**
 * The kick and call descriptors of a virtqueue: eventfds, or pipes where the system has no eventfd. A doorbell is rung by
 * writing eight bytes and cleared by reading.
 */
import { closeDescriptor, os } from "./os-addon.ts";
import { Watch } from "./poller.ts";

/** A doorbell that this side rings. Owns the descriptor. */
export class Doorbell {
  readonly #fd: number;

  constructor(fd: number) {
    os.setNonBlocking(fd);
    this.#fd = fd;
  }

  ring(): void {
    os.ringDoorbell(this.#fd);
  }

  close(): void {
    closeDescriptor(this.#fd);
  }
}

/** A doorbell that the other side rings. Owns the descriptor. */
export class DoorbellListener {
  readonly #fd: number;
  readonly #watch: Watch;

  /** @param onRing called once for any number of rings since the last call */
  constructor(fd: number, onRing: () => void) {
    os.setNonBlocking(fd);
    this.#fd = fd;
    this.#watch = new Watch(fd, () => {
      // The other end is closed: the descriptor would be readable for ever.
      if (!os.clearDoorbell(fd)) return;
      // Armed before the work, so that a ring during the work is not missed.
      this.#watch.arm({ readable: true, writable: false });
      onRing();
    });
    this.#watch.arm({ readable: true, writable: false });
  }

  close(): void {
    this.#watch.close();
    closeDescriptor(this.#fd);
  }
}
