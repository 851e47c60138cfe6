/**
 * A connected port that no worker serves: greets the guest, so that one with a lost session opens another, and waits for the
 * guest's first bytes without reading them. Once is enough: nothing gets lost on a port that stays connected, and a guest
 * repeats Hello at each Greeting.
 */
import { encodeMessage, FLUSH_BYTES } from "../../proto/framing.ts";
import { os } from "../native/os-addon.ts";
import { Watch } from "../native/poller.ts";

export interface DormantPortEvents {
  /** The guest has sent something. Called once. */
  onBytes(): void;
  /** QEMU has disconnected. Called once. */
  onHangup(): void;
}

export class DormantPort {
  readonly #fd: number;
  readonly #watch: Watch;

  /** @param fd stays the caller's, who closes it after `end` */
  constructor(fd: number, hostBootId: number, { onBytes, onHangup }: DormantPortEvents) {
    this.#fd = fd;
    this.#watch = new Watch(fd, ({ hangup }) => {
      this.end();
      if (hangup) onHangup();
      else onBytes();
    });
    this.#watch.arm({ readable: true, writable: false });
    const greeting = { type: "greeting", body: { hostBootId } } as const;
    this.#send(FLUSH_BYTES);
    this.#send(encodeMessage(greeting, { epoch: 0, sequence: 0, stream: 0 }));
  }

  end(): void {
    this.#watch.close();
  }

  /** What a full socket does not take is left out: a peer that does not read needs no more of it. */
  #send(bytes: Buffer): void {
    try {
      os.send(this.#fd, bytes, 0, []);
    } catch {
      // QEMU has disconnected, which the watch reports.
    }
  }
}
