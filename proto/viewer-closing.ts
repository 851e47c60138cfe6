/** With which codes the server closes a viewer's WebSocket; the reason that goes with one is a sentence for people. */

/** 1000 to 1015 are RFC 6455's (section 7.4.1), 4000 to 4999 are for applications. */
export const CLOSE_CODES = {
  goingAway: { code: 1001, meaning: "the server is being stopped", again: true },
  notBinary: { code: 1003, meaning: "a text message; all messages are binary", again: false },
  tooBig: { code: 1009, meaning: "a message beyond MESSAGE_BYTES", again: false },
  malformed: { code: 4400, meaning: "no ViewerMessage, or a field outside its bounds", again: false },
  noHello: { code: 4408, meaning: "no ViewerHello within HELLO_MS", again: true },
  notReading: { code: 4413, meaning: "the viewer takes nothing, and CONTROL_BYTES wait for it", again: true },
  version: { code: 4426, meaning: "another version of the protocol: load the page again", again: false },
  tooMany: { code: 4429, meaning: "more than MESSAGES_PER_SECOND", again: false },
} as const satisfies Record<string, { code: number; meaning: string; again: boolean }>;

export type CloseName = keyof typeof CLOSE_CODES;

/** A viewer broke the protocol: its connection is closed with `close` and the message as the reason. */
export class ViewerProtocolError extends Error {
  override readonly name = "ViewerProtocolError";
  readonly close: CloseName;

  constructor(close: CloseName, message: string) {
    super(message);
    this.close = close;
  }
}
