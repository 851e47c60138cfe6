/** Bounded waits. */
import { VmTimeoutError } from "./errors.ts";

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** What `promise` gives, or an error after `ms`; the timer never outlives the wait. */
export async function within<T>(promise: Promise<T>, ms: number, timeoutError: () => Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(timeoutError()), ms);
  });
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}

/** Asks until the answer is not undefined, at most for `ms`. */
export async function poll<T>(
  question: () => T | undefined | Promise<T | undefined>,
  ms: number,
  what: string,
  everyMs = 25,
): Promise<T> {
  const end = Date.now() + ms;
  for (;;) {
    const answer = await question();
    if (answer !== undefined) {
      return answer;
    }
    if (Date.now() >= end) {
      throw new VmTimeoutError(`${what}: not within ${ms / 1000} s.`);
    }
    await sleep(everyMs);
  }
}
