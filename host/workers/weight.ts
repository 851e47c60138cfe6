/**
 * Gives a flooded worker a small part of contended processors, so that what one VM's guest sends does not delay other VMs'
 * frames. Where a processor is free, the worker goes on as before.
 *
 * A worker's main thread receives and answers, and encodes nothing: with ordinary streams it is idle nearly all the time, and
 * one that works for a good part of it is flooded. The weight is that of the worker's cgroup, where it has one
 * (host/cgroup.ts), or else of its session (autogroup, sched(7)), which counts in the root cgroup only.
 */
import type { ChildProcess } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";

const CHECK_MS = 200;
/** Of the time, that a flooded worker's main thread works. */
const FLOODED_SHARE = 0.3;
/** Share of contended processors of a flooded worker, compared with another. */
export const FLOODED_WEIGHT = 0.04;
/** Gives that weight (sched(7): 36 instead of 1024). */
const FLOODED_NICE = 15;
/** Of the times in /proc/PID/stat: USER_HZ. */
const TICKS_PER_SECOND = 100;

/**
 * Looks after a worker until it ends.
 *
 * @param setWeight sets its weight, 1 for an ordinary one; tried again if it throws
 */
export function weigh(child: ChildProcess, setWeight: (weight: number) => void): void {
  const { pid } = child;
  if (pid === undefined) return;
  let before = { ms: performance.now(), cpuMs: 0 };
  let wasFlooded = false;
  const check = (): void => {
    const now = { ms: performance.now(), cpuMs: mainThreadMs(pid) };
    const isFlooded = now.cpuMs - before.cpuMs > FLOODED_SHARE * (now.ms - before.ms);
    before = now;
    if (isFlooded === wasFlooded) return;
    setWeight(isFlooded ? FLOODED_WEIGHT : 1);
    wasFlooded = isFlooded;
  };
  const timer = setInterval(() => {
    try {
      check();
    } catch {
      // The worker has ended, or another weight was set too short a time ago.
    }
  }, CHECK_MS).unref();
  child.once("exit", () => clearInterval(timer));
}

/** Why sessions have no weight here; undefined if they have. */
export function whyUnweighed(): string | undefined {
  const file = "/proc/sys/kernel/sched_autogroup_enabled";
  const isOn = existsSync(file) && readFileSync(file, "utf8").trim() === "1";
  return isOn ? undefined : "this kernel has no autogroups, or they are off (kernel.sched_autogroup_enabled)";
}

/** Sets the weight of a process's session. */
export function weighSession({ pid }: ChildProcess, weight: number): void {
  writeFileSync(`/proc/${pid}/autogroup`, String(weight < 1 ? FLOODED_NICE : 0));
}

/** Processor time of a process's main thread. @throws a system error if it has ended */
function mainThreadMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/task/${pid}/stat`, "utf8");
  // The name, in parentheses, may have spaces.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [user, system] = [fields[11], fields[12]];
  return ((Number(user) + Number(system)) * 1000) / TICKS_PER_SECOND;
}
