/** The command `vsockenc` as a process of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { packageRoot } from "../../common/package-root.ts";

export interface Program {
  readonly child: ChildProcess;
  /** Standard output and error so far. */
  readonly output: string;
  /** The exit status, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>;
}

/** Starts `vsockenc` with these arguments; it is killed when the test has finished. */
export function startProgram(...args: readonly string[]): Program {
  const child = spawn(process.execPath, ["--import", "tsx", join(packageRoot, "cli/main.ts"), ...args], {
    cwd: packageRoot,
    stdio: ["ignore", "pipe", "pipe"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (output += String(data)));
  const ended = new Promise<number | NodeJS.Signals>((resolve) => {
    child.once("close", (status, signal) => resolve(status ?? signal ?? "SIGKILL"));
  });
  return {
    child,
    get output() {
      return output;
    },
    ended,
  };
}
