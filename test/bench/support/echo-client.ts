/** The other end of echo.ts: sends requests and measures the time until the answers have arrived. */
import { writeFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { until } from "../../support/until.ts";
import { SupervisedProcess } from "../../vm/child.ts";
import { onLastCore } from "./cores.ts";

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

export class EchoClient {
  readonly process: SupervisedProcess;
  readonly #exchange: Exchange;
  readonly #server;
  #socket: Socket | undefined;
  #left = 0;
  #onAnswer: () => void = () => {};

  private constructor(folder: string, exchange: Exchange) {
    this.#exchange = exchange;
    const path = join(folder, "echo");
    this.#server = createServer((socket) => {
      this.#socket = socket;
      socket.on("data", (chunk) => {
        this.#left -= chunk.length;
        if (this.#left === 0) this.#onAnswer();
      });
    }).listen(path);
    this.process = echoProcess(path, exchange, folder);
  }

  static async start(folder: string, exchange: Exchange): Promise<EchoClient> {
    const client = new EchoClient(folder, exchange);
    client.process.start();
    await until(() => client.#socket !== undefined, "the echo process");
    return client;
  }

  /** One exchange; microseconds from the write to the last byte of the answer. */
  async once(): Promise<number> {
    this.#left = this.#exchange.answer.length;
    const answered = new Promise<number>((resolve) => {
      this.#onAnswer = () => resolve((performance.now() - started) * 1000);
    });
    const started = performance.now();
    this.#socket?.write(this.#exchange.request);
    return await answered;
  }

  async times(count: number): Promise<number[]> {
    const times: number[] = [];
    while (times.length < count) times.push(await this.once());
    return times;
  }

  async stop(): Promise<void> {
    this.#socket?.destroy();
    this.#server.close();
    await this.process.stop();
  }
}
