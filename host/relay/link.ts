/** What a session needs of the stream below it, whatever carries that. */

export interface LinkEvents {
  onConnect(): void;
  /** Bytes as they arrive; valid until the callback returns. */
  onData(chunk: Buffer): void;
  onDisconnect(): void;
}

export interface ByteSink {
  /** Writes all pieces in order, without copying them; they must not change afterwards. */
  write(pieces: readonly Uint8Array[]): void;
  /** Bytes written that the peer's socket has not taken yet. */
  readonly unsentBytes: number;
}

/** A way in for guests: a chardev to which we connect, or a socket on which we listen. */
export interface Link {
  /** As in logs. */
  readonly name: string;
  /** How many peers are connected now. */
  readonly connections: number;
  close(): void;
}
