// Running the steps of set-up: one line each, the output kept back unless the step fails.
import { spawn } from "node:child_process";

/** An error whose message says what to do; printed without a stack. */
export class SetupError extends Error {
  name = "SetupError";
}

const STILL_RUNNING_MS = 20_000;
const KEPT_OUTPUT = 64 * 1024;

/** One line for the user. */
export function say(line) {
  process.stderr.write(`[setup] ${line}\n`);
}

/** The end of the output, and its beginning too: npm names the error first and explains its options afterwards. */
function excerpt(lines) {
  return lines.length <= 40 ? lines : [...lines.slice(0, 12), "…", ...lines.slice(-27)];
}

/**
 * Runs one step. While it runs, says from time to time how long it has taken and what it printed last; when it fails,
 * throws with the end of its output and `advice`.
 */
export async function step(title, command, args, advice, environment = {}) {
  say(`${title} …`);
  const started = Date.now();
  const seconds = () => Math.round((Date.now() - started) / 1000);
  let output = "";
  const child = spawn(command, args, {
    stdio: ["inherit", "pipe", "pipe"], // sudo may ask for a password
    env: { ...process.env, ...environment },
  });
  const keep = (data) => {
    output = (output + data.toString("utf8")).slice(-KEPT_OUTPUT);
  };
  child.stdout.on("data", keep);
  child.stderr.on("data", keep);
  const lastLine = () =>
    output
      .trimEnd()
      .split(/[\r\n]/)
      .at(-1)
      ?.slice(0, 90) ?? "";
  const still = setInterval(() => say(`  ${seconds()} s: ${lastLine()}`), STILL_RUNNING_MS);
  const status = await new Promise((resolve) => {
    child.once("error", (error) => {
      output += error.message;
      resolve(-1);
    });
    child.once("close", (code, signal) => resolve(signal ?? code));
  });
  clearInterval(still);
  if (status !== 0) {
    const end = excerpt(output.trimEnd().split("\n")).join("\n  | ");
    throw new SetupError(
      `${command} ${args.join(" ")} failed (${status}). Its output:\n  | ${end}\n${advice}`,
    );
  }
  if (seconds() >= 2) {
    say(`  done in ${seconds()} s`);
  }
}
