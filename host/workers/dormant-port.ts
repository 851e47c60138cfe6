/**
 * A connected port that no worker serves: greets the guest now and then, as PROTOCOL.md's "Opening" wants it, and waits for
 * its first bytes without reading them.
 */
import { encodeMessage, FLUSH_BYTES } from "../../proto/framing.ts";
import { LIMITS } from "../../proto/limits.ts";
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
  readonly #greeting: Buffer;
  readonly #watch: Watch;
  readonly #timer: NodeJS.Timeout;

  /** @param fd stays the caller's, who closes it after `end` */
  constructor(fd: number, hostBootId: number, { onBytes, onHangup }: DormantPortEvents) {
    this.#fd = fd;
    this.#greeting = encodeMessage(
      { type: "greeting", body: { hostBootId } },
      { epoch: 0, sequence: 0, stream: 0 },
    );
    this.#watch = new Watch(fd, ({ hangup }) => {
      this.end();
      if (hangup) onHangup();
      else onBytes();
    });
    this.#watch.arm({ readable: true, writable: false });
    this.#send(FLUSH_BYTES);
    this.#send(this.#greeting);
    this.#timer = setInterval(() => this.#send(this.#greeting), LIMITS.GREETING_INTERVAL_MS);
  }

  end(): void {
    clearInterval(this.#timer);
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
