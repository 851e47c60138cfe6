/**
 * Finds out whether encoders work, in a process of their own (probe-child.cjs): a driver that crashes or hangs ends that
 * process alone.
 *
 * Encoders that are asked about in one turn share a process, where they are probed side by side. If several have no answer
 * when it ends, each is asked again in a process of its own, so the one at fault is found.
 */
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { addonFile } from "../../common/load-addon.ts";
import type { NativeSettings } from "./native.ts";

/**
 * An encoder hangs if its process sends nothing for so long; the process's start, which may be slow on a busy machine, counts
 * apart. Streams wait for hardware that hangs; software does not hang, but is slow on such a machine.
 */
const HANG_MS = { hardware: 5000, software: 60_000 } as const;

/** Why an encoder does not work. */
export interface ProbeFailure {
  readonly reason: string;
  /** Where its driver crashes or hangs; otherwise the reason is the driver's own. */
  readonly remedy?: string | undefined;
}

interface Question {
  readonly name: string;
  readonly hardware: boolean;
  readonly settings: NativeSettings;
  readonly resolve: (failure: ProbeFailure | undefined) => void;
}

/** Of the current turn. */
const questions: Question[] = [];

/**
 * Opens an encoder and encodes a few frames.
 *
 * @param name as in encoder.order, for the reason
 * @returns undefined if it works
 */
export function probeEncoder(
  name: string,
  hardware: boolean,
  settings: NativeSettings,
): Promise<ProbeFailure | undefined> {
  if (questions.length === 0) queueMicrotask(() => ask(questions.splice(0)));
  return new Promise((resolve) => questions.push({ name, hardware, settings, resolve }));
}

/** What the child sends: at first that it has started, without an index. */
interface Answer {
  readonly index?: number;
  readonly reason?: string;
}

function ask(asked: readonly Question[]): void {
  const waiting = new Map(asked.entries());
  const child = fork(fileURLToPath(new URL("probe-child.cjs", import.meta.url)), [addonFile("media")], {
    execArgv: [],
    stdio: ["ignore", "ignore", "ignore", "ipc"],
  });
  /** @param how the process has ended, where there is no answer */
  const end = (how = "", remedy?: string): void => {
    clearTimeout(timer);
    child.kill("SIGKILL");
    // A process that the kernel cannot kill must not keep this one.
    child.unref();
    if (child.connected) child.disconnect();
    const unanswered = [...waiting.values()];
    waiting.clear();
    for (const question of unanswered) {
      if (unanswered.length > 1) ask([question]);
      else question.resolve({ reason: `${question.name} ${how}`, remedy });
    }
  };
  const fault = (how: string): void =>
    end(`${how} when it was probed`, "update its driver, or leave it out of encoder.order");
  let timer: NodeJS.Timeout | undefined;
  const listen = (): void => {
    clearTimeout(timer);
    const isSoftware = [...waiting.values()].some(({ hardware }) => !hardware);
    const ms = HANG_MS[isSoftware ? "software" : "hardware"];
    timer = setTimeout(() => fault(`did not answer within ${ms / 1000} s`), ms);
  };
  listen();
  child.on("message", ({ index, reason }: Answer) => {
    if (index !== undefined) {
      waiting.get(index)?.resolve(reason === undefined ? undefined : { reason });
      waiting.delete(index);
    }
    if (waiting.size === 0) end();
    else listen();
  });
  child.on("exit", (status, signal) => fault(`crashed (${signal ?? `status ${status}`})`));
  child.on("error", (error) => end(`has no process to be probed in: ${error.message}`));
  child.send(asked.map(({ settings }) => settings));
}
