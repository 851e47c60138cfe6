import { HANG_MS } from "./hang.ts";

/** Real time, also in a test that replaces performance.now. */
const now = performance.now.bind(performance);
const POLL_MS = 5;

/** What a test waits for never came. */
export class HangError extends Error {
  override readonly name = "HangError";
}

/**
 * Waits until a question has an answer, i.e. a value other than undefined or false, and returns it.
 *
 * @param what names it in the error, also as it is then
 * @throws HangError
 */
export async function until<T>(
  question: () => T | undefined | false | Promise<T | undefined | false>,
  what: string | (() => string),
  timeoutMs = HANG_MS,
): Promise<T> {
  const deadline = now() + timeoutMs;
  for (;;) {
    const answer = await question();
    if (answer !== undefined && answer !== false) return answer;
    if (now() > deadline) {
      const text = typeof what === "string" ? what : what();
      throw new HangError(`timed out after ${timeoutMs / 1000} s: ${text}`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
