/** Messages of a session that wait because an earlier one takes time. */
import { LIMITS } from "../../proto/limits.ts";
import { SessionError } from "./errors.ts";
import type { SessionMessage } from "./session.ts";

/** Attach, Detach and Frame for every buffer, and some configuration, may wait; an honest guest has no more. */
const MAX_WAITING_MESSAGES = 3 * LIMITS.MAX_ATTACHED_BUFFERS + LIMITS.MAX_IN_FLIGHT_FRAMES;

export interface WaitingMessage {
  readonly message: SessionMessage;
  /** To be given back when it has been dealt with. */
  readonly credit: number;
}

export class MessageQueue {
  readonly #waiting: WaitingMessage[] = [];

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** @throws SessionError when more wait than an honest guest sends */
  push(message: SessionMessage, credit: number): void {
    if (this.#waiting.length >= MAX_WAITING_MESSAGES) {
      throw new SessionError(
        "LIMIT_EXCEEDED",
        `more than ${MAX_WAITING_MESSAGES} messages ahead of the host`,
      );
    }
    this.#waiting.push({ message: ownBytes(message), credit });
  }

  /**
   * Takes the oldest message.
   *
   * @param dataOnly the oldest Data, which does not wait for what stands between it and its frame
   */
  take(dataOnly: boolean): WaitingMessage | undefined {
    if (!dataOnly) return this.#waiting.shift();
    const index = this.#waiting.findIndex(({ message }) => message.type === "data");
    return index < 0 ? undefined : this.#waiting.splice(index, 1)[0];
  }

  clear(): void {
    this.#waiting.length = 0;
  }
}

/** Data is a view of the parser's memory, which is used again. */
function ownBytes(message: SessionMessage): SessionMessage {
  return message.type === "data" ? { ...message, bytes: Buffer.from(message.bytes) } : message;
}
