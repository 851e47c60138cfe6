/** The other end of echo.ts: sends requests and measures the time until the answers have arrived. */
import { writeFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { until } from "../../support/until.ts";
import { SupervisedProcess } from "../../vm/child.ts";
import { onLastCore } from "./processes.ts";

const PROGRAM = join(import.meta.dirname, "echo.ts");

/** The bytes of a Frame and of a relay's answer. */
export interface Exchange {
  readonly request: Buffer;
  readonly answer: Buffer;
}

/** The echo process, on the last core; it connects to `socketPath` when started. */
export function echoProcess(socketPath: string, exchange: Exchange, folder: string): SupervisedProcess {
  const answerFile = join(folder, "answer");
  writeFileSync(answerFile, exchange.answer);
  const args = ["--import", "tsx", PROGRAM, socketPath, String(exchange.request.length), answerFile];
  return new SupervisedProcess("echo", onLastCore([process.execPath, ...args]));
}

/** Starts an echo process with a socket in `folder`. */
export async function startEcho(folder: string, exchange: Exchange) {
  const path = join(folder, "echo");
  let socket: Socket | undefined;
  let left = 0;
  let onAnswer = (): void => {};
  const server = createServer((accepted) => {
    socket = accepted;
    accepted.on("data", (chunk) => {
      left -= chunk.length;
      if (left === 0) onAnswer();
    });
  }).listen(path);
  const process = echoProcess(path, exchange, folder);
  process.start();
  await until(() => socket !== undefined, "the echo process");
  /** One exchange; microseconds from the write to the last byte of the answer. */
  const once = (): Promise<number> => {
    left = exchange.answer.length;
    return new Promise((resolve) => {
      const started = performance.now();
      onAnswer = () => resolve((performance.now() - started) * 1000);
      socket?.write(exchange.request);
    });
  };
  const times = async (count: number): Promise<number[]> => {
    const all: number[] = [];
    while (all.length < count) all.push(await once());
    return all;
  };
  const stop = async (): Promise<void> => {
    socket?.destroy();
    server.close();
    await process.stop();
  };
  return { process, once, times, stop };
}
