/** The findings of `vsockenc doctor`, and how its checks look at the machine. */
import { spawnSync } from "node:child_process";
import { accessSync, constants, readdirSync } from "node:fs";
import { errorText } from "../../common/error-text.ts";

export interface Check {
  readonly name: string;
  /** "warning": works, but not as well as it could; "failure": does not work. */
  readonly status: "ok" | "warning" | "failure";
  readonly detail: string;
  /** The command or step that fixes it. */
  readonly fix?: string;
}

export const ok = (name: string, detail: string): Check => ({ name, status: "ok", detail });

export function warning(name: string, detail: string, fix: string): Check {
  return { name, status: "warning", detail, fix };
}

export function failure(name: string, detail: string, fix: string): Check {
  return { name, status: "failure", detail, fix };
}

/** The first line of an error's message. */
export function reason(error: unknown): string {
  return errorText(error).split("\n")[0] ?? "";
}

/** Whether this process may access the file; by default, read and write it. */
export function mayAccess(path: string, mode = constants.R_OK | constants.W_OK): boolean {
  try {
    accessSync(path, mode);
    return true;
  } catch {
    return false;
  }
}

/** Names in a folder, sorted; none if it cannot be read. */
export function entries(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

/** Compares versions by their first two numbers, e.g. "20.19.0" with "20.15". */
export function isAtLeast(version: string, least: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [leastMajor = 0, leastMinor = 0] = least.split(".").map(Number);
  return major > leastMajor || (major === leastMajor && minor >= leastMinor);
}

/** The version in the output of `qemu-system-* --version`. */
export function qemuVersion(output: string): string | undefined {
  return /version (\d+\.\d+(?:\.\d+)?)/.exec(output)?.[1];
}

const PROGRAM_MS = 20_000;

export type ProgramResult =
  | {
      readonly kind: "ended";
      readonly status: number;
      readonly output: string;
      /** What it wrote to stderr. */
      readonly errors: string;
    }
  | { readonly kind: "missing" }
  | { readonly kind: "failed"; readonly detail: string };

/**
 * Runs a program for its output, with limits on time and output.
 *
 * @param env variables besides our own
 */
export function run(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): ProgramResult {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    env: { ...process.env, ...env },
    encoding: "utf8",
    timeout: PROGRAM_MS,
    maxBuffer: 1 << 22,
    stdio: ["ignore", "pipe", "pipe"],
  });
  if (error !== undefined) {
    if ("code" in error && error.code === "ENOENT") return { kind: "missing" };
    return { kind: "failed", detail: error.message };
  }
  return { kind: "ended", status: status ?? -1, output: stdout, errors: stderr };
}

const MARKS = { ok: "ok  ", warning: "warn", failure: "FAIL" } as const;

/** As text: one line for each check, its fix below it. */
export function formatChecks(checks: readonly Check[]): string {
  return checks
    .map(({ name, status, detail, fix }) => {
      const line = `${MARKS[status]}  ${name}: ${detail}`;
      return fix === undefined ? line : `${line}\n      → ${fix}`;
    })
    .join("\n");
}
