import type { Socket } from "node:net";
import { createInterface } from "node:readline";

/** Settles like `promise`, or rejects after `ms`; the timer never outlives the wait. */
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

/** Calls back for each line of a socket. Errors are ignored here: "close" follows, which the socket's owner handles. */
export function onLines(socket: Socket, listener: (line: string) => void): void {
  const lines = createInterface({ input: socket });
  lines.on("line", listener);
  lines.on("error", () => undefined);
  socket.on("error", () => undefined);
}
