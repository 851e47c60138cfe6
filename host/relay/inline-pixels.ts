/** Pixels that follow a Frame in Data messages (PROTOCOL.md, "Frames"). */
import type { DataMessage } from "../../proto/messages.ts";
import type { vsockenc } from "../../proto/protobuf.ts";
import type { InlineFrame } from "../native/inline-picture.ts";
import { SessionError } from "./errors.ts";

/** The pixels of one frame while they arrive. */
export class IncomingPixels {
  readonly frame: vsockenc.Frame;
  readonly #target: InlineFrame | undefined;
  #received = 0;

  /** @param target undefined for a rejected frame, whose bytes arrive all the same and are discarded */
  constructor(frame: vsockenc.Frame, target: InlineFrame | undefined) {
    this.frame = frame;
    this.#target = target;
  }

  /** The filled frame; undefined if the frame was rejected or its buffer was detached. */
  get pixels(): InlineFrame | undefined {
    return this.#target?.closed ? undefined : this.#target;
  }

  /** Whether the frame was rejected, and so has been answered already. */
  get rejected(): boolean {
    return this.#target === undefined;
  }

  /**
   * Adds a chunk.
   *
   * @returns whether it was the last
   * @throws SessionError if it is not the next chunk
   */
  add({ frame, offset, bytes }: DataMessage): boolean {
    const { frame: expected, inlineBytes } = this.frame;
    if (frame !== expected || offset !== this.#received) {
      const text = `got Data of frame ${frame} at ${offset}; expected frame ${expected} at ${this.#received}`;
      throw new SessionError("PROTOCOL_VIOLATION", text);
    }
    if (bytes.length === 0 || offset + bytes.length > inlineBytes) {
      const text = `got ${bytes.length} bytes of Data at ${offset}; frame ${expected} has ${inlineBytes} bytes`;
      throw new SessionError("PROTOCOL_VIOLATION", text);
    }
    this.pixels?.write(offset, bytes);
    this.#received += bytes.length;
    return this.#received === inlineBytes;
  }

  /** Releases the pixels. A second call does nothing. */
  close(): void {
    this.#target?.close();
  }
}
