/** What `vsockenc doctor` finds: one line for each thing that has to be there. */

import { spawnSync } from "node:child_process";
import { errorText } from "../../common/error-text.ts";

export type CheckStatus = "ok" | "warning" | "failure";

export interface Check {
  readonly name: string;
  /** "warning": it works, but worse than it could; "failure": it does not work. */
  readonly status: CheckStatus;
  /** What was found. */
  readonly detail: string;
  /** The command or step that mends it. */
  readonly fix?: string;
}

export const ok = (name: string, detail: string): Check => ({ name, status: "ok", detail });

export const warning = (name: string, detail: string, fix: string): Check => ({
  name,
  status: "warning",
  detail,
  fix,
});

export const failure = (name: string, detail: string, fix: string): Check => ({
  name,
  status: "failure",
  detail,
  fix,
});

/** An error's text in one line. */
export function reason(error: unknown): string {
  return errorText(error).split("\n")[0] ?? "";
}

const PROGRAM_MS = 20_000;

export type ProgramResult =
  | { readonly kind: "ended"; readonly status: number; readonly output: string }
  | { readonly kind: "missing" }
  | { readonly kind: "failed"; readonly detail: string };

/** Runs a program for what it says; bounded in time and output. */
export function run(program: string, args: readonly string[]): ProgramResult {
  const { status, stdout, error } = spawnSync(program, args, {
    encoding: "utf8",
    timeout: PROGRAM_MS,
    maxBuffer: 1 << 22,
    stdio: ["ignore", "pipe", "pipe"],
  });
  if (error !== undefined) {
    if ("code" in error && error.code === "ENOENT") return { kind: "missing" };
    return { kind: "failed", detail: error.message };
  }
  return { kind: "ended", status: status ?? -1, output: stdout };
}

const MARKS: Readonly<Record<CheckStatus, string>> = { ok: "ok  ", warning: "warn", failure: "FAIL" };

/** For people. */
export function formatChecks(checks: readonly Check[]): string {
  return checks
    .map(({ name, status, detail, fix }) => {
      const line = `${MARKS[status]}  ${name}: ${detail}`;
      return fix === undefined ? line : `${line}\n      → ${fix}`;
    })
    .join("\n");
}
