/**
 * Starts workers' processes, one ahead: a guest that opens a session waits a quarter of a second for its relay before it
 * asks again, and Node takes longer to start on a busy host. The process in advance has read its program, confined, and
 * waits for its VM.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import type { Logger } from "pino";
import { packageRoot } from "../../common/package-root.ts";
import type { EncoderName } from "../encoders/index.ts";
import { closeDescriptor, os } from "../native/os-addon.ts";
import { confined, confinedEnvironment } from "../native/sandbox.ts";
import { workerRules } from "./sandbox.ts";

/**
 * V8's young objects get 1 MiB instead of 16, which would fill up before they are looked through: 9 MiB of a worker's 42
 * (PSS, one stream of libx264 by inline pixels), and no more time.
 */
const NODE_OPTIONS = ["--max-semi-space-size=1"];
/** The next process starts when the stream that took the last one runs. */
const SPARE_DELAY_MS = 2000;

export interface LaunchOptions {
  /** Whether workers run confined (sandbox.ts); where the system can, they should. */
  readonly confine: boolean;
  /** Those of the configuration. */
  readonly encoders: readonly EncoderName[];
  /** Whether a process is kept ahead. */
  readonly ahead: boolean;
  readonly log: Logger;
  /** Gets each process as soon as it is there. */
  readonly onStart?: (child: ChildProcess) => void;
}

/** A process, and the descriptor of the connection to it. */
export interface Launched {
  readonly child: ChildProcess;
  readonly fd: number;
}

export class WorkerLauncher {
  readonly #options: LaunchOptions;
  #spare: Launched | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: LaunchOptions) {
    this.#options = options;
    if (options.ahead) this.#prepare();
  }

  /** A process without a VM; the caller owns both. */
  take(): Launched {
    const launched = this.#spare ?? this.#launch();
    this.#spare = undefined;
    clearTimeout(this.#timer);
    if (this.#options.ahead) this.#timer = setTimeout(() => this.#prepare(), SPARE_DELAY_MS);
    return launched;
  }

  /** Ends the process that waits. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    const spare = this.#spare;
    if (spare === undefined) return;
    this.#spare = undefined;
    closeDescriptor(spare.fd);
    // It may still be starting, and has nothing to lose.
    spare.child.kill("SIGKILL");
  }

  #prepare(): void {
    if (this.#closed) return;
    const spare = this.#launch();
    this.#spare = spare;
    // One that dies is replaced when it is needed, so that a broken program is not started again and again.
    spare.child.once("exit", () => {
      if (this.#spare !== spare) return;
      this.#spare = undefined;
      closeDescriptor(spare.fd);
    });
  }

  #launch(): Launched {
    const { confine, encoders, log, onStart } = this.#options;
    const [own, theirs] = os.socketPair();
    const script = [...NODE_OPTIONS, join(packageRoot, "dist", "cli", "worker-main.js")];
    const { command, args } = confine
      ? confined(script, workerRules(encoders))
      : { command: process.execPath, args: script };
    // In a session of its own: the kernel divides the processors between sessions (autogroup), so between VMs.
    const child = spawn(command, args, {
      stdio: ["ignore", "inherit", "inherit", theirs],
      detached: true,
      env: confinedEnvironment(),
    });
    closeDescriptor(theirs);
    onStart?.(child);
    // A relay that stops does not wait for its workers: the end of their connections ends them.
    child.unref();
    child.on("error", (error) => log.error({ err: error }, "cannot start a worker"));
    return { child, fd: own };
  }
}
