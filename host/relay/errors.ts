import { errorText } from "../../common/error-text.ts";
import type { vsockenc } from "../../proto/protobuf.ts";
import { EncoderBusyError, EncoderError, EncoderUnavailableError } from "../encoders/encoder.ts";
import { ExportClosedError, ExportRefusedError } from "../export/client.ts";
import {
  InvalidLayoutError,
  LayoutOutsideResourceError,
  PictureError,
  SurfaceUnsupportedError,
  UnsupportedFormatError,
} from "../native/picture.ts";

/** Codes of Error messages, by the names of session.proto. */
export type WireErrorCode = keyof typeof vsockenc.ErrorCode;

class WireError extends Error {
  readonly code: WireErrorCode;

  /** @param text for the guest's user: the cause, and the limit or the remedy */
  constructor(code: WireErrorCode, text: string) {
    super(text);
    this.code = code;
  }
}

/** A failed request of the guest: answered with an Error message; the session continues. */
export class RequestError extends WireError {
  override readonly name = "RequestError";
}

/** The guest violated the protocol: answered with a fatal Error, which ends the session. */
export class SessionError extends WireError {
  override readonly name = "SessionError";
}

/** What the guest is told of an error that it did not cause. */
export function internalError(error: unknown): SessionError {
  return new SessionError("INTERNAL_ERROR", `internal error of the relay: ${errorText(error)}; see its log`);
}

/** The first class of an error decides its code. */
const CODES: readonly (readonly [new (...args: never[]) => Error, WireErrorCode])[] = [
  [ExportRefusedError, "NO_SUCH_RESOURCE"],
  [ExportClosedError, "NO_EXPORTER"],
  [InvalidLayoutError, "INVALID_VALUE"],
  [UnsupportedFormatError, "UNSUPPORTED_FORMAT"],
  [SurfaceUnsupportedError, "UNSUPPORTED_FORMAT"],
  [LayoutOutsideResourceError, "LAYOUT_OUTSIDE_RESOURCE"],
  [PictureError, "LIMIT_EXCEEDED"],
  [EncoderUnavailableError, "ENCODER_UNAVAILABLE"],
  [EncoderBusyError, "LIMIT_EXCEEDED"],
  [EncoderError, "ENCODER_FAILED"],
];

/** The wire's code for a failed request; undefined for an error that the request did not cause. */
export function wireErrorCode(error: unknown): WireErrorCode | undefined {
  if (error instanceof RequestError) return error.code;
  return CODES.find(([type]) => error instanceof type)?.[1];
}
