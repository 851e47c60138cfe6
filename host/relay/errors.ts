import { vsockenc } from "../../proto/protobuf.ts";

const { ErrorCode } = vsockenc;

/** Codes of Error messages, by the names of session.proto. */
export type WireErrorCode = keyof typeof ErrorCode;

/** A request of the guest that is answered with an Error message; the session goes on. */
export class RequestError extends Error {
  override readonly name = "RequestError";
  readonly code: WireErrorCode;

  /** @param text for people in the guest: what is wrong, and the limit or the fix */
  constructor(code: WireErrorCode, text: string) {
    super(text);
    this.code = code;
  }
}

/** The guest broke the protocol: answered with a fatal Error, which ends the session. */
export class SessionError extends Error {
  override readonly name = "SessionError";
  readonly code: WireErrorCode;

  constructor(code: WireErrorCode, text: string) {
    super(text);
    this.code = code;
  }
}
