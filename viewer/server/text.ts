import { VIEWER_LIMITS } from "../../proto/viewer-limits.ts";

/** RFC 6455, section 5.5: a control frame has 125 bytes, two of which are the code. */
const CLOSE_REASON_BYTES = 123;

/** A title or sentence, cut to the limit of a message. */
export function truncateText(text: string, bytes = VIEWER_LIMITS.TEXT_BYTES): string {
  const encoded = Buffer.from(text);
  if (encoded.length <= bytes) return text;
  // A character that was cut decodes to U+FFFD, which is dropped.
  return encoded
    .subarray(0, bytes)
    .toString()
    .replace(/\uFFFD+$/, "");
}

/** A sentence, cut to the limit of a WebSocket's close reason. */
export function closeReason(text: string): string {
  return truncateText(text, CLOSE_REASON_BYTES);
}
