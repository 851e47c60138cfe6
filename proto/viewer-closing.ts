/** The codes with which the server closes a viewer's WebSocket; the reason beside a code is a sentence for the user. */

/** 1000 to 1015 are defined by RFC 6455 (section 7.4.1), 4000 to 4999 are for applications. */
export const CLOSE_CODES = {
  goingAway: { code: 1001, meaning: "the server is shutting down", again: true },
  notBinary: { code: 1003, meaning: "a text message; only binary ones are allowed", again: false },
  tooBig: { code: 1009, meaning: "a message larger than MESSAGE_BYTES", again: false },
  malformed: { code: 4400, meaning: "an invalid ViewerMessage, or a field out of bounds", again: false },
  noHello: { code: 4408, meaning: "no ViewerHello within HELLO_MS", again: true },
  notReading: { code: 4413, meaning: "the viewer does not read, and CONTROL_BYTES wait for it", again: true },
  version: { code: 4426, meaning: "another protocol version: reload the page", again: false },
  tooMany: { code: 4429, meaning: "more than MESSAGES_PER_SECOND messages", again: false },
} as const satisfies Record<string, { code: number; meaning: string; again: boolean }>;

export type CloseName = keyof typeof CLOSE_CODES;

/** A viewer violated the protocol. Its connection is closed with `close`, and the message as the reason. */
export class ViewerProtocolError extends Error {
  override readonly name = "ViewerProtocolError";
  readonly close: CloseName;

  constructor(close: CloseName, message: string) {
    super(message);
    this.close = close;
  }
}
