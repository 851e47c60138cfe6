/** The byte stream below a session, whatever carries it. */

export interface LinkEvents {
  onConnect(): void;
  /** Bytes as they arrive; valid until the callback returns. */
  onData(chunk: Buffer): void;
  onDisconnect(): void;
}

export interface ByteSink {
  /** Writes all pieces in order, without copying them; they must not change afterwards. */
  write(pieces: readonly Uint8Array[]): void;
  /** Bytes written that the peer's socket has not accepted yet. */
  readonly unsentBytes: number;
}

/** A chardev to which the relay connects, or a socket on which it listens for guests. */
export interface Link {
  /** For logs. */
  readonly name: string;
  /** Number of connected peers. */
  readonly connections: number;
  close(): void;
}
