/** How long an orderly stop may take before the process exits anyway. */
const GRACE_MS = 2000;

/**
 * Runs `stop` on SIGINT or SIGTERM. The process then exits with status 0 when nothing is left to do, or after a grace
 * period. A second signal ends it at once.
 */
export function onTermination(stop: () => void): void {
  let stopping = false;
  const handle = (signal: NodeJS.Signals): void => {
    if (stopping) process.exit(128 + (signal === "SIGINT" ? 2 : 15));
    stopping = true;
    stop();
    setTimeout(() => process.exit(0), GRACE_MS).unref();
  };
  process.on("SIGINT", handle);
  process.on("SIGTERM", handle);
}
