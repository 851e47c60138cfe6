import { ByteQueue } from "../../proto/byte-queue.ts";
import { type ParserEvent, takeMessage } from "../../proto/framing.ts";

/** Finds the messages of a stream, piece by piece, and counts the bytes that are none. */
export class MessageReader {
  readonly #input = new ByteQueue();
  skippedBytes = 0;

  /** Bytes that wait for more. */
  get pendingBytes(): number {
    return this.#input.length;
  }

  /** All messages that the next piece completes. */
  push(piece: Uint8Array): Exclude<ParserEvent, { kind: "noise" }>[] {
    const events: Exclude<ParserEvent, { kind: "noise" }>[] = [];
    this.#input.add(Buffer.from(piece));
    for (let event = takeMessage(this.#input); event !== undefined; event = takeMessage(this.#input)) {
      if (event.kind === "noise") this.skippedBytes += event.bytes;
      else events.push(event);
    }
    return events;
  }
}
