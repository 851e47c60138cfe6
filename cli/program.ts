import type { Command } from "commander";
import { ConfigurationError, USAGE_ERROR_STATUS } from "../common/configuration-error.ts";
import { errorText } from "../common/error-text.ts";

/**
 * Runs a command line. Wrong arguments and a wrong configuration become a message and USAGE_ERROR_STATUS, other errors a
 * message and exit status 1.
 */
export async function runProgram(program: Command): Promise<void> {
  for (const command of [program, ...program.commands]) {
    command.exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : USAGE_ERROR_STATUS));
  }
  try {
    await program.parseAsync();
  } catch (error) {
    // The message names the cause and the remedy; a stack would only hide it. VSOCKENC_DEBUG shows the stack.
    const shown = process.env["VSOCKENC_DEBUG"] && error instanceof Error ? error.stack : errorText(error);
    console.error(`vsockenc: ${shown}`);
    process.exitCode = error instanceof ConfigurationError ? USAGE_ERROR_STATUS : 1;
  }
}

/** How long an orderly stop may take before the process exits anyway. */
const GRACE_MS = 2000;

/**
 * Runs `stop` on SIGINT or SIGTERM. The process then exits with status 0 when nothing is left to do, or after a grace
 * period. A second signal ends it at once.
 *
 * @returns what a first signal does
 */
export function onTermination(stop: () => void): () => void {
  let stopping = false;
  const end = (): void => {
    if (stopping) return;
    stopping = true;
    stop();
    setTimeout(() => process.exit(0), GRACE_MS).unref();
  };
  const handle = (signal: NodeJS.Signals): void => {
    if (stopping) process.exit(128 + (signal === "SIGINT" ? 2 : 15));
    end();
  };
  process.on("SIGINT", handle);
  process.on("SIGTERM", handle);
  return end;
}

/**
 * Runs `reload` on SIGHUP, which a service manager sends, and a terminal when it is closed; without this, Node ends the
 * process, even under nohup.
 */
export function onReload(reload: () => void = () => undefined): void {
  process.on("SIGHUP", reload);
}

/** Calls `onEnd` once, when the process at the other end has ended, however it did. Close the watch to end. */
export async function watchParent(fd: number, onEnd: () => void): Promise<{ close(): void }> {
  const { Watch } = await import("../host/native/poller.ts");
  const watch = new Watch(fd, () => {
    watch.close();
    onEnd();
  });
  watch.arm({ readable: true, writable: false });
  return watch;
}
