/**
 * Starts and restarts the processes of `vsockenc host`.
 *
 * Each VM with a vhost-user GPU has a process of its own for it, because QEMU cannot reconnect to a lost one; a single relay
 * does everything that may fail. A process that ends is restarted with back-off, which starts over after a process has run for a while. One
 * that ends for a usage error is not restarted, as the next would fail alike.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import type { Logger } from "pino";
import { USAGE_ERROR_STATUS } from "../common/configuration-error.ts";
import { packageRoot } from "../common/package-root.ts";
import type { Cgroups, ProcessLimits } from "./cgroup.ts";
import type { Configuration } from "./config.ts";

const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 10_000;
const GOOD_AFTER_MS = 10_000;
/** Node has about a dozen. */
const MAX_GPU_TASKS = 64;
/** How long a process may take to stop before it is killed. */
const STOP_MS = 1500;

interface Supervised {
  readonly name: string;
  /** A file of dist/cli. */
  readonly script: string;
  readonly args: readonly string[];
  readonly limits?: ProcessLimits;
  child: ChildProcess | undefined;
  retryMs: number;
  timer: NodeJS.Timeout | undefined;
}

export class Supervisor {
  readonly #log: Logger;
  readonly #processes: Supervised[];
  readonly #cgroups: Cgroups | undefined;
  #stopping = false;

  /**
   * @param configurationFile passed to the relay, which reads its own part of it
   * @param cgroups undefined: nothing is limited
   */
  constructor(
    configuration: Configuration,
    configurationFile: string,
    log: Logger,
    cgroups: Cgroups | undefined,
  ) {
    this.#log = log;
    this.#cgroups = cgroups;
    const limits = { memoryMiB: configuration.limits.gpu_mib, tasks: MAX_GPU_TASKS };
    const level = configuration.log.level;
    const gpus = configuration.vm.flatMap(({ name, gpu, export: exportPath }) => {
      // Only a vhost-user GPU has a socket.
      if (gpu?.socket === undefined || exportPath === undefined) return [];
      const paths = ["--socket-path", gpu.socket, "--export-path", exportPath];
      const users = gpu.users.flatMap((user) => ["--export-uid", String(user)]);
      const shape = ["--heads", String(gpu.heads), "--mode", gpu.mode, "--log-level", level];
      // Not main.js, whose other commands would take half of the process's memory.
      return [{ name: `gpu ${name}`, script: "gpu-main.js", args: [...paths, ...users, ...shape], limits }];
    });
    const relay = { name: "relay", script: "main.js", args: ["relay", "--config", configurationFile] };
    const fresh = { child: undefined, retryMs: FIRST_RETRY_MS, timer: undefined };
    this.#processes = [...gpus, relay].map((process) => ({ ...process, ...fresh }));
  }

  start(): void {
    for (const process of this.#processes) this.#spawn(process);
  }

  stop(): void {
    this.#stopping = true;
    for (const { child, timer } of this.#processes) {
      clearTimeout(timer);
      child?.kill("SIGTERM");
      setTimeout(() => child?.kill("SIGKILL"), STOP_MS).unref();
    }
  }

  #spawn(supervised: Supervised): void {
    const script = join(packageRoot, "dist", "cli", supervised.script);
    const started = performance.now();
    const child = spawn(process.execPath, [script, ...supervised.args], {
      stdio: ["ignore", "inherit", "inherit"],
      env: { ...process.env, ...this.#cgroups?.environment },
    });
    supervised.child = child;
    const { name, limits } = supervised;
    if (limits !== undefined) this.#cgroups?.limit(child, name.replace(" ", "-"), limits);
    this.#log.info({ process: supervised.name, pid: child.pid }, "started");
    child.on("error", (error) => this.#log.error({ process: supervised.name, err: error }, "cannot start"));
    child.on("close", (code, signal) => {
      supervised.child = undefined;
      if (this.#stopping) {
        if (code !== 0) this.#log.error({ process: supervised.name, code, signal }, "died");
        return;
      }
      if (code === USAGE_ERROR_STATUS) {
        const remedy = "correct its arguments or configuration, then restart this program";
        this.#log.error({ process: supervised.name, code }, `not restarted after a usage error: ${remedy}`);
        return;
      }
      if (performance.now() - started > GOOD_AFTER_MS) supervised.retryMs = FIRST_RETRY_MS;
      const details = { process: supervised.name, code, signal, restartInMs: supervised.retryMs };
      if (code === 0) this.#log.info(details, "ended");
      else this.#log.error(details, "died");
      supervised.timer = setTimeout(() => this.#spawn(supervised), supervised.retryMs);
      supervised.retryMs = Math.min(supervised.retryMs * 2, LAST_RETRY_MS);
    });
  }
}
