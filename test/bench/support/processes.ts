/**
 * Processes under measurement: their cores, and their resources from Linux's /proc.
 *
 * Without pinning, two processes that take turns sometimes share a core and sometimes wake each other across cores, which
 * triples a round trip; so comparisons of round trips pin both sides.
 */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { cpus } from "node:os";
import { processTree, unlessEnded } from "../../support/process-tree.ts";

const LAST = cpus().length - 1;
/** Name of the encoder sessions' threads (host/native/media/encoder/session.cc). */
const ENCODER_THREAD = "vsockenc-encode";

/** Puts a command on the last core. */
export function onLastCore(command: readonly string[]): string[] {
  return ["taskset", "--cpu-list", String(LAST), ...command];
}

/** Keeps this process off the last of several cores until the returned function is called. */
export function leaveLastCore(): () => void {
  const allow = (list: string): void => {
    const args = ["--all-tasks", "--pid", "--cpu-list", list, String(process.pid)];
    execFileSync("taskset", args, { stdio: "ignore" });
  };
  allow(LAST === 0 ? "0" : `0-${LAST - 1}`);
  return () => allow(`0-${LAST}`);
}

/**
 * CPU time of a process and of those that it has started.
 *
 * @returns nanoseconds: threads that encode, and all others (JavaScript, its helpers, the poll thread)
 */
export function cpuTime(pid: number): { readonly encoders: number; readonly others: number } {
  const times = { encoders: 0, others: 0 };
  const threads = processTree(pid).flatMap((each) =>
    unlessEnded(() => readdirSync(`/proc/${each}/task`), []).map((thread) => `/proc/${each}/task/${thread}`),
  );
  for (const folder of threads) {
    const name = unlessEnded(() => readFileSync(`${folder}/comm`, "utf8"), "").trim();
    // The first field of schedstat counts nanoseconds; stat counts ticks of 10 ms, too coarse for a few per cent.
    const nanoseconds = Number(
      unlessEnded(() => readFileSync(`${folder}/schedstat`, "utf8"), "0").split(" ")[0],
    );
    times[name === ENCODER_THREAD ? "encoders" : "others"] += nanoseconds;
  }
  return times;
}

/**
 * Resident memory of a process and of those that it has started, in bytes, without shared pages (the guest's pictures,
 * which are only mapped).
 */
export function privateMemory(pid: number): number {
  const kilobytes = processTree(pid).map((each) => {
    const status = unlessEnded(() => readFileSync(`/proc/${each}/status`, "utf8"), "");
    return Number(/^RssAnon:\s+(\d+) kB/m.exec(status)?.[1] ?? 0);
  });
  return 1024 * kilobytes.reduce((sum, each) => sum + each, 0);
}
