/**
 * Limits of the processes that serve VMs, by cgroup v2 (Linux), where this process's cgroup is delegated to it (systemd's
 * Delegate=yes).
 *
 * The kernel gives limits to children only of a cgroup that has no processes itself. So this process moves into a child,
 * "main", and each process that it limits has a child beside that, with limits of memory and threads and an equal share of
 * the processors.
 */
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Logger } from "pino";
import { errorText } from "../common/error-text.ts";

const CONTROLLERS = ["memory", "cpu", "pids"];
const MAIN = "main";
/** In the environment of a relay: the folder that `vsockenc host` has made ready. */
const FOLDER = "VSOCKENC_CGROUP";
/** Begins the names of workers' cgroups. */
export const WORKER = "worker";
/** The kernel's default; VMs that compete get equal shares. */
const WEIGHT = 100;

export interface ProcessLimits {
  readonly memoryMiB: number;
  /** Processes and threads. */
  readonly tasks: number;
}

/** Processes cannot be limited; the message says why. */
export class CgroupError extends Error {
  override readonly name = "CgroupError";
}

export class Cgroups {
  readonly #folder: string;
  readonly #log: Logger;

  private constructor(folder: string, log: Logger) {
    this.#folder = folder;
    this.#log = log;
  }

  /**
   * Makes this process's cgroup ready; before it starts another process. Where that is impossible, the log says why.
   *
   * @param whose for the log, e.g. "workers"
   * @param root of the file system
   */
  static open(whose: string, log: Logger, root = "/"): Cgroups | undefined {
    const shared = process.env[FOLDER];
    try {
      const folder = shared ?? ownFolder(root);
      // Those that an earlier process has left behind. One with a process in it stays.
      for (const name of readdirSync(folder)) {
        if (shared === undefined || name.startsWith(WORKER)) removeFolder(join(folder, name));
      }
      return new Cgroups(folder, log);
    } catch (error) {
      log.warn({ reason: errorText(error) }, `${whose} run without limits of memory and processors`);
      return undefined;
    }
  }

  /** What a process that limits others beside ours needs in its environment. */
  get environment(): Readonly<Record<string, string>> {
    return { [FOLDER]: this.#folder };
  }

  /** Limits a process from now on. Its cgroup is named `name-PID`. */
  limit(child: ChildProcess, name: string, { memoryMiB, tasks }: ProcessLimits): void {
    // It could not be started.
    if (child.pid === undefined) return;
    const folder = this.#folderOf(child, name);
    try {
      mkdirSync(folder, { recursive: true });
      const set = (file: string, value: number) => writeFileSync(join(folder, file), String(value));
      set("memory.max", memoryMiB * 2 ** 20);
      set("pids.max", tasks);
      set("cpu.weight", WEIGHT);
      forbidSwap(folder);
      set("cgroup.procs", child.pid);
      child.once("exit", () => removeFolder(folder));
    } catch (error) {
      removeFolder(folder);
      this.#log.warn({ process: name, reason: errorText(error) }, "cannot limit a process");
    }
  }

  /**
   * Changes the share of contended processors of a process that is limited.
   *
   * @param weight 1: as much as another
   * @throws a system error if it has ended
   */
  weigh(child: ChildProcess, name: string, weight: number): void {
    writeFileSync(join(this.#folderOf(child, name), "cpu.weight"), String(weight * WEIGHT));
  }

  #folderOf({ pid }: ChildProcess, name: string): string {
    return join(this.#folder, `${name}-${pid}`);
  }
}

/** Why this system limits no processes; undefined where it can, if a cgroup is delegated. */
export function whyUnlimited(root = "/"): string | undefined {
  const file = join(root, "sys/fs/cgroup/cgroup.controllers");
  return existsSync(file) ? missingOf(file) : "cgroup v2 is not mounted at /sys/fs/cgroup";
}

/** The folder of this process's cgroup, where children may have limits. @throws CgroupError, or a system error */
function ownFolder(root: string): string {
  const why = whyUnlimited(root);
  if (why !== undefined) throw new CgroupError(why);
  const [, path] = /^0::(.*)$/m.exec(readFileSync(join(root, "proc/self/cgroup"), "utf8")) ?? [];
  if (path === undefined) throw new CgroupError("this process has no cgroup v2");
  const folder = join(root, "sys/fs/cgroup", path);
  const missing = missingOf(join(folder, "cgroup.controllers"));
  if (missing !== undefined) throw new CgroupError(missing);
  const remedy = "start it by a systemd unit of its own with Delegate=yes";
  const others = readFileSync(join(folder, "cgroup.procs"), "utf8").trim().split("\n");
  if (others.length > 1) throw new CgroupError(`other processes share the cgroup ${path}: ${remedy}`);
  const main = join(folder, MAIN);
  try {
    mkdirSync(main, { recursive: true });
    writeFileSync(join(main, "cgroup.procs"), String(process.pid));
  } catch (error) {
    throw new CgroupError(`the cgroup ${path} is not delegated (${errorText(error)}): ${remedy}`);
  }
  try {
    const enable = CONTROLLERS.map((name) => `+${name}`).join(" ");
    writeFileSync(join(folder, "cgroup.subtree_control"), enable);
  } catch (error) {
    writeFileSync(join(folder, "cgroup.procs"), String(process.pid));
    removeFolder(main);
    throw error;
  }
  return folder;
}

/** @param file a cgroup.controllers */
function missingOf(file: string): string | undefined {
  const available = readFileSync(file, "utf8").trim().split(" ");
  const missing = CONTROLLERS.filter((name) => !available.includes(name));
  return missing.length === 0 ? undefined : `cgroup v2 has no ${missing.join(", ")} here`;
}

/** Some kernels do not count swap. */
function forbidSwap(folder: string): void {
  try {
    writeFileSync(join(folder, "memory.swap.max"), "0");
  } catch {
    // Then what does not fit into memory.max may be there.
  }
}

function removeFolder(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // It has processes, or is no cgroup.
  }
}
