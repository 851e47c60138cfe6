/** Of real time, also where a test has put its own clock in place of performance.now. */
const now = performance.now.bind(performance);

/**
 * Waits for a condition, which is asked again every few milliseconds.
 *
 * @param what names it in the error of a wait that took too long
 */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  timeoutMs = 10_000,
): Promise<void> {
  const deadline = now() + timeoutMs;
  while (!(await condition())) {
    if (now() > deadline) throw new Error(`waited ${timeoutMs} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
