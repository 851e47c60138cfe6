import { vsockenc } from "../../proto/protobuf.ts";
import { EncoderBusyError, EncoderError, EncoderUnavailableError } from "../encoders/encoder.ts";
import { ExportClosedError, ExportRefusedError } from "../export/client.ts";
import {
  InvalidLayoutError,
  LayoutOutsideResourceError,
  PictureError,
  SurfaceUnsupportedError,
  UnsupportedFormatError,
} from "../native/picture.ts";

const { ErrorCode } = vsockenc;

/** Codes of Error messages, by the names of session.proto. */
export type WireErrorCode = keyof typeof ErrorCode;

/** A failed request of the guest: answered with an Error message; the session continues. */
export class RequestError extends Error {
  override readonly name = "RequestError";
  readonly code: WireErrorCode;

  /** @param text for the guest's user: the cause, and the limit or the remedy */
  constructor(code: WireErrorCode, text: string) {
    super(text);
    this.code = code;
  }
}

/** The guest violated the protocol: answered with a fatal Error, which ends the session. */
export class SessionError extends Error {
  override readonly name = "SessionError";
  readonly code: WireErrorCode;

  constructor(code: WireErrorCode, text: string) {
    super(text);
    this.code = code;
  }
}

/** The wire's code for a failed request; undefined for an error that the request did not cause. */
export function wireErrorCode(error: unknown): WireErrorCode | undefined {
  if (error instanceof RequestError) return error.code;
  if (error instanceof ExportRefusedError) return "NO_SUCH_RESOURCE";
  if (error instanceof ExportClosedError) return "NO_EXPORTER";
  if (error instanceof InvalidLayoutError) return "INVALID_VALUE";
  if (error instanceof UnsupportedFormatError || error instanceof SurfaceUnsupportedError) {
    return "UNSUPPORTED_FORMAT";
  }
  if (error instanceof LayoutOutsideResourceError) return "LAYOUT_OUTSIDE_RESOURCE";
  if (error instanceof PictureError) return "LIMIT_EXCEEDED";
  if (error instanceof EncoderUnavailableError) return "ENCODER_UNAVAILABLE";
  if (error instanceof EncoderBusyError) return "LIMIT_EXCEEDED";
  if (error instanceof EncoderError) return "ENCODER_FAILED";
  return undefined;
}
