// Runs the steps of set-up: one line each. Their output is shown only when a step fails.
import { spawn } from "node:child_process";

/** An error whose message states the remedy; printed without a stack. */
export class SetupError extends Error {
  name = "SetupError";
}

const PROGRESS_MS = 20_000;
const KEPT_OUTPUT = 64 * 1024;

/** Prints one line for the user. */
export function say(line) {
  process.stderr.write(`[setup] ${line}\n`);
}

/** Beginning and end of the output: npm prints the error first and its options afterwards. */
function excerpt(output) {
  const lines = output.trimEnd().split("\n");
  const shown = lines.length <= 40 ? lines : [...lines.slice(0, 12), "…", ...lines.slice(-27)];
  return shown.join("\n  | ");
}

/** Runs one step and reports progress from time to time. @throws SetupError with the output and `advice` */
export async function step(title, command, args, advice) {
  say(`${title} …`);
  const started = Date.now();
  const seconds = () => Math.round((Date.now() - started) / 1000);
  let output = "";
  // sudo may ask for a password on standard input.
  const child = spawn(command, args, { stdio: ["inherit", "pipe", "pipe"] });
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => {
      output = (output + text).slice(-KEPT_OUTPUT);
    });
  }
  const progress = setInterval(() => {
    const lastLine =
      output
        .trimEnd()
        .split(/[\r\n]/)
        .at(-1) ?? "";
    say(`  ${seconds()} s: ${lastLine.slice(0, 90)}`);
  }, PROGRESS_MS);
  const status = await new Promise((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", (code, signal) => resolve(signal ?? code));
  });
  clearInterval(progress);
  if (status !== 0) {
    throw new SetupError(
      `${command} ${args.join(" ")} failed (${status}). Its output:\n  | ${excerpt(output)}\n${advice}`,
    );
  }
  if (seconds() >= 2) say(`  done in ${seconds()} s`);
}
