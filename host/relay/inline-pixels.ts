/** Pixels that come with a Frame, in Data messages (PROTOCOL.md, "Frames"). */
import type { DataMessage } from "../../proto/messages.ts";
import type { vsockenc } from "../../proto/protobuf.ts";
import type { InlineFrame } from "../native/inline-picture.ts";
import { SessionError } from "./errors.ts";

/** One frame's pixels on their way in. */
export class IncomingPixels {
  readonly frame: vsockenc.Frame;
  readonly #target: InlineFrame | undefined;
  #received = 0;

  /** @param target undefined for a frame that was refused: its bytes come all the same, and go nowhere */
  constructor(frame: vsockenc.Frame, target: InlineFrame | undefined) {
    this.frame = frame;
    this.#target = target;
  }

  /** What was filled; undefined if the frame was refused, or its buffer is gone. */
  get pixels(): InlineFrame | undefined {
    return this.#target?.closed ? undefined : this.#target;
  }

  /** Whether the frame has been answered already. */
  get refused(): boolean {
    return this.#target === undefined;
  }

  /**
   * Takes a chunk.
   *
   * @returns whether it was the last
   * @throws SessionError when it is not the chunk that has to come next
   */
  add({ frame, offset, bytes }: DataMessage): boolean {
    const { frame: expected, inlineBytes } = this.frame;
    if (frame !== expected || offset !== this.#received) {
      throw new SessionError(
        "PROTOCOL_VIOLATION",
        `Data of frame ${frame} at ${offset}; frame ${expected} goes on at ${this.#received}`,
      );
    }
    if (bytes.length === 0 || offset + bytes.length > inlineBytes) {
      throw new SessionError(
        "PROTOCOL_VIOLATION",
        `${bytes.length} bytes of Data at ${offset}; frame ${expected} has ${inlineBytes} bytes`,
      );
    }
    this.pixels?.write(offset, bytes);
    this.#received += bytes.length;
    return this.#received === inlineBytes;
  }

  /** Gives the pixels' place up; an encoder that reads them keeps them until it has. */
  close(): void {
    this.#target?.close();
  }
}
