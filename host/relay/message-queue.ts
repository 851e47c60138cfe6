/** Messages of a session that wait for an earlier, slow one. */
import { LIMITS } from "../../proto/limits.ts";
import { SessionError } from "./errors.ts";
import type { SessionMessage } from "./session.ts";

/** An honest guest has at most Attach, Detach and Frame for every buffer, and some configuration, waiting. */
const MAX_WAITING_MESSAGES = 3 * LIMITS.MAX_ATTACHED_BUFFERS + LIMITS.MAX_IN_FLIGHT_FRAMES;

export interface WaitingMessage {
  readonly message: SessionMessage;
  /** To return when the message has been processed. */
  readonly credit: number;
}

export class MessageQueue {
  readonly #waiting: WaitingMessage[] = [];

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** @throws SessionError if more messages wait than an honest guest sends */
  push(message: SessionMessage, credit: number): void {
    if (this.#waiting.length >= MAX_WAITING_MESSAGES) {
      throw new SessionError(
        "LIMIT_EXCEEDED",
        `more than ${MAX_WAITING_MESSAGES} messages wait for the host`,
      );
    }
    this.#waiting.push({ message: ownBytes(message), credit });
  }

  /**
   * Removes and returns the oldest message.
   *
   * @param dataOnly the oldest Data instead: it need not wait for messages between it and its frame
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

/** Copies Data, which is a view of memory that the parser reuses. */
function ownBytes(message: SessionMessage): SessionMessage {
  return message.type === "data" ? { ...message, bytes: Buffer.from(message.bytes) } : message;
}
