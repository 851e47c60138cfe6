/**
 * The time-outs of all tests. They detect hangs and nothing else: each is at least ten times what an idle machine of two
 * cores needs, so a busy or slow machine passes, too.
 */

/** Waiting for one event: a message, a process, a picture. */
export const HANG_MS = 180_000;
/** One test, or booting a guest. */
export const TEST_HANG_MS = 900_000;
/** Compiling, building a guest's image, and whatever includes it. */
export const BUILD_HANG_MS = 3_600_000;
