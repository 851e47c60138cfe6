/**
 * Which core a process runs on. Left to the scheduler, two processes that take turns share a core at one time and wake
 * each other across cores at another, which changes a round trip threefold: who compares round trips pins both sides.
 */
import { execFileSync } from "node:child_process";
import { cpus } from "node:os";

const LAST = cpus().length - 1;

/** Puts a command on the last core. */
export const onLastCore = (command: readonly string[]): string[] => [
  "taskset",
  "--cpu-list",
  String(LAST),
  ...command,
];

/** Keeps this process off the last core, where there are several, until the returned function is called. */
export function leaveLastCore(): () => void {
  const allow = (list: string): void => {
    const args = ["--all-tasks", "--pid", "--cpu-list", list, String(process.pid)];
    execFileSync("taskset", args, { stdio: "ignore" });
  };
  allow(LAST === 0 ? "0" : `0-${LAST - 1}`);
  return () => allow(`0-${LAST}`);
}
