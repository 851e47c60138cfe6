/** What processes have, so that what faults leave behind can be counted. */
import { readdirSync, readFileSync } from "node:fs";
import { packageRoot } from "../../../common/package-root.ts";
import { processTree, unlessEnded } from "../../support/process-tree.ts";
import { until } from "../../support/until.ts";
import { privateMemory } from "../support/processes.ts";

/** A relay's worker that is not needed ends after ten seconds. */
const SETTLE_MS = 20_000;
/** More than a relay waits before it starts the next worker ahead. */
const QUIET_MS = 3000;

export interface Holdings {
  readonly descriptors: number;
  /** Of this checkout's programs, whoever started them. */
  readonly processes: number;
  /** Private memory, in bytes. */
  readonly memory: number;
}

function programs(): number {
  return readdirSync("/proc").filter((name) => {
    try {
      return (
        /^\d+$/.test(name) &&
        readFileSync(`/proc/${name}/cmdline`, "utf8").includes(`${packageRoot}/dist/cli/`)
      );
    } catch {
      return false;
    }
  }).length;
}

/** Of a process and those that it has started. */
export function holdings(pid: number): Holdings {
  const descriptors = processTree(pid).flatMap((each) =>
    unlessEnded(() => readdirSync(`/proc/${each}/fd`), []),
  ).length;
  return { descriptors, processes: programs(), memory: privateMemory(pid) };
}

/** Of a process, as soon as nothing has been started or opened for a while: a relay has a worker ahead. */
export async function settled(pid: number): Promise<Holdings> {
  let last = holdings(pid);
  let since = performance.now();
  return await until(() => {
    const now = holdings(pid);
    if (now.descriptors !== last.descriptors || now.processes !== last.processes) since = performance.now();
    last = now;
    return performance.now() - since > QUIET_MS ? now : undefined;
  }, "processes that stay as they are");
}

/** What there is beyond `before`, as soon as it is no more, or else after a while. */
export async function leftovers(pid: number, before: Holdings): Promise<Holdings> {
  const beyond = (): Holdings | undefined => {
    try {
      const now = holdings(pid);
      return {
        descriptors: Math.max(0, now.descriptors - before.descriptors),
        processes: Math.max(0, now.processes - before.processes),
        memory: now.memory - before.memory,
      };
    } catch {
      // A process has ended while it was looked at.
      return undefined;
    }
  };
  const none = (): Holdings | undefined => {
    const now = beyond();
    return now?.descriptors === 0 && now.processes === 0 ? now : undefined;
  };
  return await until(none, "nothing left", SETTLE_MS).catch(() => until(beyond, "processes that stay"));
}
