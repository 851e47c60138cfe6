const MIN_MEMORY_BYTES = 256;
const NOTHING = Buffer.alloc(0);

/**
 * Received bytes that wait to be processed. However small the pieces in which they come, each byte is copied a bounded number
 * of times; those that are processed at once are not copied.
 */
export class ByteQueue {
  #memory: Buffer = NOTHING;
  #begin = 0;
  #end = 0;
  /** The memory is this queue's, not a caller's. */
  #isOwn = false;
  #awaited = 0;

  get length(): number {
    return this.#end - this.#begin;
  }

  /** The bytes, oldest first: a view, valid as long as the piece that was added last. */
  get bytes(): Buffer {
    return this.#memory.subarray(this.#begin, this.#end);
  }

  /** The length that await() has named, until something is removed; else 0. */
  get awaited(): number {
    return this.#awaited;
  }

  /** Notes that the oldest bytes begin something of this length, so that they need not be looked at before. */
  await(length: number): void {
    this.#awaited = length;
  }

  /** Adds a piece, which must not change before keep(). */
  add(piece: Buffer): void {
    if (this.length === 0) {
      this.#use(piece, piece.length, false);
    } else {
      this.#reserve(piece.length);
      this.#end += piece.copy(this.#memory, this.#end);
    }
  }

  /** Copies what is left of the piece that was added last. */
  keep(): void {
    if (this.length > 0) this.#reserve(0);
  }

  /** Removes the oldest bytes. */
  drop(count: number): void {
    this.#awaited = 0;
    this.#begin += count;
    if (this.#begin >= this.#end) this.clear();
  }

  clear(): void {
    this.#awaited = 0;
    this.#use(NOTHING, 0, false);
  }

  #use(memory: Buffer, length: number, isOwn: boolean): void {
    this.#memory = memory;
    this.#begin = 0;
    this.#end = length;
    this.#isOwn = isOwn;
  }

  #reserve(room: number): void {
    if (this.#isOwn && this.#memory.length - this.#end >= room) return;
    const { bytes } = this;
    // At least as much room as bytes: so many come before these are copied again.
    const memory = Buffer.allocUnsafe(Math.max(MIN_MEMORY_BYTES, 2 * (bytes.length + room)));
    this.#use(memory, bytes.copy(memory), true);
  }
}
