/**
 * The kick and call descriptors of a virtqueue: eventfds, or pipes where there is no eventfd. Both are rung by
 * writing eight bytes and silenced by reading.
 */
import { closeDescriptor } from "./descriptor.ts";
import { os } from "./os-addon.ts";
import { Watch } from "./poller.ts";

/** A doorbell that this side rings. Owns the descriptor. */
export class Bell {
  readonly #fd: number;

  constructor(fd: number) {
    os.setNonBlocking(fd);
    this.#fd = fd;
  }

  ring(): void {
    os.ring(this.#fd);
  }

  close(): void {
    closeDescriptor(this.#fd);
  }
}

/** A doorbell that the other side rings. Owns the descriptor. */
export class BellListener {
  readonly #fd: number;
  readonly #watch: Watch;

  /** @param onRing called once for any number of rings since the last call */
  constructor(fd: number, onRing: () => void) {
    os.setNonBlocking(fd);
    this.#fd = fd;
    this.#watch = new Watch(fd, () => {
      // A bell whose other end is closed would ring for ever.
      if (!os.silence(fd)) return;
      // Before the work: a ring during it must be seen.
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
