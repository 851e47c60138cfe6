/**
 * A private folder for each machine's sockets and logs, and the end of everything when this process ends: in order on
 * Ctrl-C or SIGTERM; on exit at least the folders go (child.ts has a hook for processes); and what a kill -9 left
 * behind goes when the next machine starts.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RequirementError } from "./errors.ts";

const PREFIX = "vsockenc-vm-";
/** What a UNIX socket's address can hold, less the sockets' names. */
const PATH_LIMIT = 85;

/** What lives in a state folder and can be ended. */
interface Owner {
  readonly stateDir: string;
  shutdown(): Promise<void>;
}

const live = new Set<Owner>();
let hooked = false;

/** Makes a folder that only this user can look into. */
export function makeStateDir(): string {
  removeDeadStates();
  const directory = mkdtempSync(join(tmpdir(), PREFIX));
  if (directory.length > PATH_LIMIT) {
    rmSync(directory, { recursive: true });
    throw new RequirementError(
      `${tmpdir()} is too long a folder name for sockets. Set TMPDIR to a shorter one.`,
    );
  }
  writeFileSync(join(directory, "owner"), String(process.pid));
  return directory;
}

/** From now on `owner` is shut down when this process is told to end. */
export function registerOwner(owner: Owner): void {
  live.add(owner);
  if (hooked) {
    return;
  }
  hooked = true;
  process.on("exit", () => {
    for (const { stateDir } of live) {
      rmSync(stateDir, { recursive: true, force: true });
    }
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    let ending = false;
    const end = (): void => {
      if (!ending) {
        ending = true; // an impatient second Ctrl-C changes nothing: the wait is bounded
        void Promise.allSettled([...live].map((one) => one.shutdown())).then(() => {
          process.off(signal, end);
          process.kill(process.pid, signal);
        });
      }
    };
    process.on(signal, end);
  }
}

/** Removes the owner's folder. */
export function releaseOwner(owner: Owner): void {
  rmSync(owner.stateDir, { recursive: true, force: true });
  live.delete(owner);
}

function removeDeadStates(): void {
  for (const name of readdirSync(tmpdir()).filter((entry) => entry.startsWith(PREFIX))) {
    const directory = join(tmpdir(), name);
    try {
      process.kill(Number(readFileSync(join(directory, "owner"), "utf8")), 0);
    } catch (error) {
      // ESRCH: nobody has that id any more. Anything else (another user's, one that is being made) is not ours to judge.
      if (error instanceof Error && "code" in error && error.code === "ESRCH") {
        rmSync(directory, { recursive: true, force: true });
      }
    }
  }
}
