import type { Socket } from "node:net";
import { createInterface } from "node:readline";

/**
 * Calls back for each line of a socket. An error of the socket is passed over here, where it would end the process:
 * its "close" follows, and that is where its owner looks.
 */
export function onLines(socket: Socket, listener: (line: string) => void): void {
  const lines = createInterface({ input: socket });
  lines.on("line", listener);
  lines.on("error", () => undefined);
  socket.on("error", () => undefined);
}
