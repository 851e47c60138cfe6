/**
 * Processes beside the guest: QEMU, our GPU, our relay. Each has a bounded log, is ended by its own pid only, and dies
 * with us: in order when we end in order, by the exit hook when we throw, and by the kernel (pdeathsig, set through
 * setpriv, which then becomes the program) when we are killed.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { ProcessEndedError, tail } from "./errors.ts";
import { within } from "./wait.ts";

const LOG_LIMIT = 4 * 1024 * 1024;
const running = new Set<ChildProcess>();
let exitHook = false;

/** How a process ended. */
export interface Ending {
  status: number | null;
  signal: NodeJS.Signals | null;
}

export class SupervisedProcess {
  readonly name: string;
  readonly command: readonly string[];
  /** Called with each piece of output, e.g. for --verbose. */
  onOutput: (text: string) => void = () => {};
  /** Called when the process ends and nobody asked it to. */
  onUnexpectedEnd: (ending: Ending) => void = () => {};
  #child: ChildProcess | undefined;
  #ended: Promise<Ending> | undefined;
  #asked = false;
  #log = "";

  constructor(name: string, command: readonly string[]) {
    this.name = name;
    this.command = command;
  }

  /** Everything that it wrote, over all its lives; the last 4 MiB. */
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
    if (this.#child !== undefined) {
      return;
    }
    if (!exitHook) {
      exitHook = true;
      process.on("exit", () => {
        for (const child of running) {
          child.kill("SIGKILL");
        }
      });
    }
    this.#asked = false;
    const child = spawn("setpriv", ["--pdeathsig", "KILL", "--", ...this.command], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    running.add(child);
    const keep = (data: Buffer): void => {
      const text = data.toString("utf8");
      this.#log = (this.#log + text).slice(-LOG_LIMIT);
      this.onOutput(text);
    };
    child.stdout?.on("data", keep);
    child.stderr?.on("data", keep);
    this.#ended = new Promise((resolve) => {
      const end = (ending: Ending): void => {
        running.delete(child);
        if (this.#child === child) {
          this.#child = undefined;
        }
        resolve(ending);
        if (!this.#asked) {
          this.onUnexpectedEnd(ending);
        }
      };
      child.once("error", (error) => {
        this.#log += `${this.command.join(" ")}: ${error.message}\n`;
        end({ status: null, signal: null });
      });
      child.once("close", (status, signal) => end({ status, signal }));
    });
  }

  /** Resolves when the current life has ended (at once if there is none). */
  async ended(): Promise<Ending> {
    return this.#ended ?? { status: null, signal: null };
  }

  /** Sends a signal; what ends it by this is not unexpected. */
  kill(signal: NodeJS.Signals = "SIGTERM"): void {
    this.#asked ||= ["SIGTERM", "SIGKILL", "SIGINT", "SIGQUIT", "SIGHUP"].includes(signal);
    this.#child?.kill(signal);
  }

  /** Ends it, with SIGKILL if it does not go by itself in `graceMs`. */
  async stop(graceMs = 3000): Promise<void> {
    if (this.#child === undefined) {
      return;
    }
    this.kill("SIGTERM");
    try {
      await within(this.ended(), graceMs, () => new ProcessEndedError("grace is over"));
    } catch {
      this.kill("SIGKILL");
      this.#child?.kill("SIGCONT"); // a stopped process (a test's SIGSTOP) cannot close its pipes
      await this.ended();
    }
  }

  async restart(): Promise<void> {
    await this.stop();
    this.start();
  }

  /** The error for its having ended. */
  endedError(ending: Ending): ProcessEndedError {
    const how =
      ending.signal === null ? `ended with status ${ending.status}` : `was ended by ${ending.signal}`;
    return new ProcessEndedError(`${this.name} ${how}. Its log:`, tail(this.#log));
  }
}
