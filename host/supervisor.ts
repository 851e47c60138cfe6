/**
 * Starts and restarts the processes of `vsockenc host`.
 *
 * Each VM with a vhost-user GPU has a process of its own for it, because QEMU cannot reconnect to a lost one; a single relay
 * does everything that may fail. A process that ends is restarted with back-off, which starts over after a process has run
 * for a while. One that ends for a usage error is not restarted, as the next would fail alike.
 *
 * What it starts ends with it, however it ends, but for the GPU of a VM that runs: that has a session of its own, and goes
 * on until its VM ends. The next `vsockenc host` finds it at its export socket, and starts another one after it has
 * ended.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Logger } from "pino";
import { USAGE_ERROR_STATUS } from "../common/configuration-error.ts";
import { packageRoot } from "../common/package-root.ts";
import type { Cgroups, ProcessLimits } from "./cgroup.ts";
import type { Configuration } from "./config.ts";
import { listeningProcess } from "./native/listener.ts";

const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 10_000;
const GOOD_AFTER_MS = 10_000;
/** Interval of looks at a GPU process that another `vsockenc host` has started. */
const WATCH_MS = 200;
/** Node has about a dozen. */
const MAX_GPU_TASKS = 64;
/** How long the relay may take to stop before it is killed. */
const STOP_MS = 1500;
/** Descriptor of a child's connection to this process, whose end it notices however this process ends. */
const PARENT_FD = 3;
const PARENT = ["--parent-fd", String(PARENT_FD)];

/** A process that should run. */
interface Task {
  readonly name: string;
  /** A file of dist/cli. */
  readonly script: string;
  readonly args: readonly string[];
  readonly limits?: ProcessLimits;
  /** Of a GPU process. */
  readonly exportPath?: string;
}

interface Supervised {
  readonly task: Task;
  child: ChildProcess | undefined;
  retryMs: number;
  timer: NodeJS.Timeout | undefined;
  retired: boolean;
}

export class Supervisor {
  readonly #log: Logger;
  readonly #configurationFile: string;
  readonly #cgroups: Cgroups | undefined;
  readonly #onReloaded: () => void;
  readonly #processes = new Map<string, Supervised>();

  /**
   * @param configurationFile passed to the relay, which reads its own part of it
   * @param cgroups undefined: nothing is limited
   * @param onReloaded the relay has read its configuration again, because it was asked to
   */
  constructor(
    configurationFile: string,
    log: Logger,
    cgroups: Cgroups | undefined,
    onReloaded: () => void = () => undefined,
  ) {
    this.#configurationFile = configurationFile;
    this.#onReloaded = onReloaded;
    this.#log = log;
    this.#cgroups = cgroups;
  }

  /** Starts what the configuration needs and does not run, ends what it does not need, and leaves all else alone. */
  apply(configuration: Configuration): void {
    const wanted = new Map(this.#tasks(configuration).map((task) => [task.name, task]));
    for (const [name, supervised] of this.#processes) {
      if (isDeepStrictEqual(supervised.task, wanted.get(name))) continue;
      this.#processes.delete(name);
      retire(supervised);
    }
    for (const [name, task] of wanted) {
      const running = this.#processes.get(name);
      if (running !== undefined) continue;
      const supervised = {
        task,
        child: undefined,
        retryMs: FIRST_RETRY_MS,
        timer: undefined,
        retired: false,
      };
      this.#processes.set(name, supervised);
      this.#start(supervised);
    }
  }

  /** Has the relay read the configuration again. */
  reload(): void {
    this.#processes.get("relay")?.child?.kill("SIGHUP");
  }

  /** Ends the relay, and the GPU processes whose VMs do not run. */
  stop(): void {
    for (const supervised of this.#processes.values()) retire(supervised);
  }

  #tasks({ vm, limits, log }: Configuration): Task[] {
    const gpus = vm.flatMap(({ name, gpu, export: exportPath }): Task[] => {
      // Only a vhost-user GPU has a socket.
      if (gpu?.socket === undefined || exportPath === undefined) return [];
      const paths = ["--socket-path", gpu.socket, "--export-path", exportPath];
      const users = gpu.users.flatMap((user) => ["--export-uid", String(user)]);
      const shape = ["--heads", String(gpu.heads), "--mode", gpu.mode, "--log-level", log.level];
      const args = [...paths, ...users, ...shape, ...PARENT];
      // Not main.js, whose other commands would take half of the process's memory.
      const program = { name: `gpu ${name}`, script: "gpu-main.js", args, exportPath };
      return [{ ...program, limits: { memoryMiB: limits.gpu_mib, tasks: MAX_GPU_TASKS } }];
    });
    const args = ["relay", "--config", this.#configurationFile, ...PARENT];
    return [...gpus, { name: "relay", script: "main.js", args }];
  }

  #start(supervised: Supervised): void {
    const { name, exportPath } = supervised.task;
    const other = exportPath === undefined ? undefined : listeningProcess(exportPath);
    if (other === undefined) {
      this.#spawn(supervised);
      return;
    }
    this.#log.info({ process: name, pid: other }, "runs already");
    const watch = (): void => {
      if (isRunning(other)) supervised.timer = setTimeout(watch, WATCH_MS);
      else this.#start(supervised);
    };
    watch();
  }

  #spawn(supervised: Supervised): void {
    const { name, script, args, limits, exportPath } = supervised.task;
    const isGpu = exportPath !== undefined;
    const started = performance.now();
    const child = spawn(process.execPath, [join(packageRoot, "dist", "cli", script), ...args], {
      stdio: ["ignore", "inherit", "inherit", "pipe"],
      detached: isGpu,
      env: { ...process.env, ...this.#cgroups?.environment },
    });
    supervised.child = child;
    const connection = child.stdio[PARENT_FD];
    connection?.on("error", () => undefined);
    // All that the relay says there.
    if (!isGpu) connection?.on("data", () => this.#onReloaded());
    if (limits !== undefined) this.#cgroups?.limit(child, name.replace(" ", "-"), limits);
    this.#log.info({ process: name, pid: child.pid }, "started");
    child.on("error", (error) => this.#log.error({ process: name, err: error }, "cannot start"));
    child.on("close", (code, signal) => {
      supervised.child = undefined;
      if (supervised.retired) {
        if (code !== 0) this.#log.error({ process: name, code, signal }, "died");
        return;
      }
      if (code === USAGE_ERROR_STATUS) {
        const remedy = "correct its arguments or configuration, then restart this program";
        this.#log.error({ process: name, code }, `not restarted after a usage error: ${remedy}`);
        return;
      }
      if (performance.now() - started > GOOD_AFTER_MS) supervised.retryMs = FIRST_RETRY_MS;
      const details = { process: name, code, signal, restartInMs: supervised.retryMs };
      if (code === 0) this.#log.info(details, "ended");
      else this.#log.error(details, "died");
      supervised.timer = setTimeout(() => this.#start(supervised), supervised.retryMs);
      supervised.retryMs = Math.min(supervised.retryMs * 2, LAST_RETRY_MS);
    });
  }
}

/** Ends a process: a relay now, a GPU process with its VM. Nothing waits for the latter. */
function retire(supervised: Supervised): void {
  supervised.retired = true;
  clearTimeout(supervised.timer);
  const { child, task } = supervised;
  if (child === undefined) return;
  if (task.exportPath === undefined) {
    child.kill("SIGTERM");
    setTimeout(() => child.kill("SIGKILL"), STOP_MS).unref();
  } else {
    child.stdio[PARENT_FD]?.destroy();
    child.unref();
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // Another user's is one as well.
    if (!(error instanceof Error && "code" in error && error.code === "EPERM")) return false;
  }
  try {
    // One that has ended and that its parent has not waited for (in a container, say) is none.
    return !readFileSync(`/proc/${pid}/stat`, "latin1").includes(") Z ");
  } catch {
    return process.platform !== "linux";
  }
}
