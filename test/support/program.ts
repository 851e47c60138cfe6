/** The command `vsockenc` as a process of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished } from "vitest";
import { packageRoot } from "../../common/package-root.ts";

/** The command as `npm run build` compiles it. */
export const MAIN = join(packageRoot, "dist", "cli", "main.js");
const STOPS = 20;
/** At a time, to use all cores while programs start. */
const PARALLEL = 5;

export interface Program {
  readonly child: ChildProcess;
  /** Standard output and error so far. */
  readonly output: string;
  /** The exit status, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>;
}

/** Starts `vsockenc` with these arguments; it is killed when the test has finished. */
export function startProgram(...args: readonly string[]): Program {
  return startProgramWith({}, ...args);
}

/** @param environment added to our own */
export function startProgramWith(
  environment: Readonly<Record<string, string>>,
  ...args: readonly string[]
): Program {
  const child = spawn(process.execPath, [MAIN, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...environment },
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

/**
 * Starts and stops programs twenty times, and expects status 0 each time.
 *
 * @param start starts one in a folder of its own, and settles when it shall be stopped
 */
export async function expectOrderlyStops(start: (folder: string) => Promise<Program>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "vsockenc-stop-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const stop = async (signal: NodeJS.Signals): Promise<void> => {
    const program = await start(mkdtempSync(join(folder, "run-")));
    program.child.kill(signal);
    const status = await program.ended;
    expect(status, program.output).toBe(0);
    // Of a child of `vsockenc host`.
    expect(program.output).not.toContain("terminate called");
    expect(program.output).not.toContain('"died"');
  };
  for (let count = 0; count < STOPS; count += PARALLEL) {
    await Promise.all(Array.from({ length: PARALLEL }, (_, n) => stop(n % 2 === 0 ? "SIGTERM" : "SIGINT")));
  }
}
