/** Options that several commands have. */
import { InvalidArgumentError, Option } from "commander";
import { DISPLAY_MODE_RULE, type DisplayMode, parseDisplayMode } from "../host/gpu/display-mode.ts";
import { LIMITS } from "../proto/limits.ts";

/** A number of an option. */
export function wholeNumber(text: string, min: number, max: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
}

/** An inherited descriptor. */
export const descriptor = (text: string): number => wholeNumber(text, 0, 2 ** 20);

/**
 * The option of processes that `vsockenc host` starts.
 *
 * @param condition for the help: when the process ends with its parent
 */
export function parentOption(condition = ""): Option {
  const text = "inherited connection: this process ends when its other end closes";
  return new Option("--parent-fd <number>", `${text} ${condition}`.trim()).argParser(descriptor);
}

export function headsOption(): Option {
  return new Option("--heads <number>", `connected displays, 1 to ${LIMITS.MAX_HEADS}`)
    .argParser((text) => wholeNumber(text, 1, LIMITS.MAX_HEADS))
    .default(1);
}

export function modeOption(): Option {
  return new Option("--mode <size>", "preferred size of each head")
    .argParser(parseMode)
    .default({ width: 1280, height: 800 }, "1280x800");
}

function parseMode(text: string): DisplayMode {
  const mode = parseDisplayMode(text);
  if (mode === undefined) throw new InvalidArgumentError(`It ${DISPLAY_MODE_RULE}.`);
  return mode;
}
