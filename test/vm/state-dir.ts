/**
 * A private folder for each machine's sockets and logs, and clean-up when this process ends: in order on Ctrl-C or
 * SIGTERM; on exit at least the folders are removed (child.ts has a hook for processes); what kill -9 leaves behind is
 * removed when the next machine starts.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RequirementError } from "./errors.ts";

const PREFIX = "vsockenc-vm-";
/** The length of a UNIX socket's address, less the sockets' names. */
const PATH_LIMIT = 85;

/** An object with a state folder. */
interface Owner {
  readonly stateDir: string;
  shutdown(): Promise<void>;
}

const live = new Set<Owner>();
let hooked = false;

/** Creates a folder that only this user can read. */
export function makeStateDir(): string {
  removeDeadStates();
  const directory = mkdtempSync(join(tmpdir(), PREFIX));
  if (directory.length > PATH_LIMIT) {
    rmSync(directory, { recursive: true });
    throw new RequirementError(
      `${tmpdir()} is too long for the addresses of sockets. Set TMPDIR to a shorter path.`,
    );
  }
  writeFileSync(join(directory, "owner"), String(process.pid));
  return directory;
}

/** Has `owner` shut down when this process is asked to end. */
export function registerOwner(owner: Owner): void {
  live.add(owner);
  if (hooked) return;
  hooked = true;
  process.on("exit", () => {
    for (const { stateDir } of live) rmSync(stateDir, { recursive: true, force: true });
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    let ending = false;
    const end = (): void => {
      if (ending) return; // a second Ctrl-C: shutting down is bounded
      ending = true;
      void Promise.allSettled([...live].map((one) => one.shutdown())).then(() => {
        process.off(signal, end);
        process.kill(process.pid, signal);
      });
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
      // ESRCH: the process has ended. Other errors: another user's folder, or one that is being created.
      if (error instanceof Error && "code" in error && error.code === "ESRCH") {
        rmSync(directory, { recursive: true, force: true });
      }
    }
  }
}
