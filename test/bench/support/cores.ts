/**
 * Pins processes to cores. Otherwise two processes that take turns sometimes share a core and sometimes wake each other
 * across cores, which triples a round trip; so comparisons of round trips pin both sides.
 */
import { execFileSync } from "node:child_process";
import { cpus } from "node:os";

const LAST = cpus().length - 1;

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
