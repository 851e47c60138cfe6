import type { Socket } from "node:net";
import { createInterface } from "node:readline";

/** Calls back for each line of a socket. Errors are ignored here: "close" follows, which the socket's owner handles. */
export function onLines(socket: Socket, listener: (line: string) => void): void {
  const lines = createInterface({ input: socket });
  lines.on("line", listener);
  lines.on("error", () => undefined);
  socket.on("error", () => undefined);
}
