/**
 * Processes beside the guest: QEMU, the GPU process, the relay. Each has a bounded log and is ended by its own pid only.
 * None outlives this process: it ends them in order, its exit hook does when it throws, and the kernel does when it is
 * killed (pdeathsig, set by setpriv, which then becomes the program).
 */
import { type ChildProcess, spawn } from "node:child_process";
import { ProcessEndedError, tail } from "./errors.ts";
import { within } from "./wait.ts";

const LOG_LIMIT = 4 * 1024 * 1024;
/** Programs end within three seconds on an idle machine. */
const GRACE_MS = 30_000;
const FATAL_SIGNALS: readonly NodeJS.Signals[] = ["SIGTERM", "SIGKILL", "SIGINT", "SIGQUIT", "SIGHUP"];
const running = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** How a process ended. */
export interface Ending {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class SupervisedProcess {
  readonly name: string;
  readonly command: readonly string[];
  /** Called with each piece of output. */
  onOutput: (text: string) => void = () => {};
  /** Called when the process ends without having been asked to. */
  onUnexpectedEnd: (error: ProcessEndedError) => void = () => {};
  #child: ChildProcess | undefined;
  #ended: Promise<Ending> = Promise.resolve({ status: null, signal: null });
  #asked = false;
  #log = "";

  constructor(name: string, command: readonly string[]) {
    this.name = name;
    this.command = command;
  }

  /** Its output over all starts; the last 4 MiB. */
  get log(): string {
    return this.#log;
  }

  /** Undefined when it does not run. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get alive(): boolean {
    return this.#child !== undefined;
  }

  start(): void {
    if (this.#child !== undefined) return;
    this.#asked = false;
    const command = ["--pdeathsig", "KILL", "--", ...this.command];
    const child = spawn("setpriv", command, { stdio: ["ignore", "pipe", "pipe"] });
    this.#child = child;
    running.add(child);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        this.#log = (this.#log + text).slice(-LOG_LIMIT);
        this.onOutput(text);
      });
    }
    this.#ended = new Promise((resolve) => {
      const end = (ending: Ending): void => {
        running.delete(child);
        if (this.#child === child) this.#child = undefined;
        resolve(ending);
        if (!this.#asked) this.onUnexpectedEnd(this.#endedError(ending));
      };
      child.once("error", (error) => {
        this.#log += `${this.command.join(" ")}: ${error.message}\n`;
        end({ status: null, signal: null });
      });
      child.once("close", (status, signal) => end({ status, signal }));
    });
  }

  /** Resolves when the process has ended (at once if it does not run). */
  ended(): Promise<Ending> {
    return this.#ended;
  }

  /** Rejects when the process has ended. */
  async failure(): Promise<never> {
    throw this.#endedError(await this.#ended);
  }

  /** Reads no output until resumeOutput(), as a slow reader of a log. */
  pauseOutput(): void {
    for (const stream of [this.#child?.stdout, this.#child?.stderr]) stream?.pause();
  }

  resumeOutput(): void {
    for (const stream of [this.#child?.stdout, this.#child?.stderr]) stream?.resume();
  }

  /** Sends a signal. */
  kill(signal: NodeJS.Signals = "SIGTERM"): void {
    this.#asked ||= FATAL_SIGNALS.includes(signal);
    this.#child?.kill(signal);
  }

  /** Ends it with SIGTERM, and with SIGKILL if it does not react. */
  async stop(): Promise<void> {
    this.kill("SIGTERM");
    this.kill("SIGCONT"); // a process that a test has stopped
    await within(this.#ended, GRACE_MS, () => new Error()).catch(() => this.kill("SIGKILL"));
    await this.#ended;
  }

  async restart(): Promise<void> {
    await this.stop();
    this.start();
  }

  #endedError({ status, signal }: Ending): ProcessEndedError {
    const how = signal === null ? `ended with status ${status}` : `was ended by ${signal}`;
    return new ProcessEndedError(`${this.name} ${how}. Its log:`, tail(this.#log));
  }
}
