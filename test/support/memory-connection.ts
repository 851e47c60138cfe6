import type { Connection, ConnectionEvents } from "../../host/relay/connection.ts";

/** The relay's end of a connection without a system between: what was written, and whether it is read. */
export class MemoryConnection implements Connection {
  readonly peer = "test";
  readonly #onWrite: (piece: Uint8Array) => void;
  readonly #pieces: Uint8Array[] = [];
  #events: ConnectionEvents | undefined;
  unsentBytes = 0;
  reading = true;
  closed = false;
  /** Whether the peer reads. */
  drains = true;

  /** @param onWrite called with each piece that is written */
  constructor(onWrite: (piece: Uint8Array) => void = () => undefined) {
    this.#onWrite = onWrite;
  }

  start(events: ConnectionEvents): void {
    this.#events = events;
  }

  write(pieces: readonly Uint8Array[]): void {
    for (const piece of pieces) {
      this.#pieces.push(piece);
      if (!this.drains) this.unsentBytes += piece.length;
      this.#onWrite(piece);
    }
  }

  get written(): Buffer {
    return Buffer.concat(this.#pieces);
  }

  setReading(on: boolean): void {
    this.reading = on;
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.#events?.onClose();
  }

  /** The peer sends bytes. As with a socket, their memory is used again. */
  receive(bytes: Uint8Array): void {
    const chunk = Buffer.from(bytes);
    if (!this.closed) this.#events?.onData(chunk);
    chunk.fill(0xaa);
  }

  /** The peer has read everything. */
  drain(): void {
    this.drains = true;
    this.unsentBytes = 0;
    this.#events?.onDrain();
  }
}
