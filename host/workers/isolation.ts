import type { Logger } from "pino";
import { type Cgroups, WORKER } from "../cgroup.ts";
import type { Configuration } from "../config.ts";
import { whyUnconfined } from "../native/sandbox.ts";
import type { Isolate } from "../relay/relay.ts";
import { WorkerLauncher } from "./launcher.ts";
import { workerRules } from "./sandbox.ts";
import { weigh, weighSession, whyUnweighed } from "./weight.ts";
import { WorkerHost } from "./worker-host.ts";

/** Workers for a relay's VMs. */
export interface Isolation {
  readonly isolate: Isolate;
  close(): void;
}

/** An encoder has up to one and a half threads for each processor, and a VM several streams. */
const MAX_TASKS = 4096;

/**
 * The isolation of a configuration; undefined for "none". Logs what this system cannot do.
 *
 * @param cgroups undefined: nothing is limited
 */
export function isolationOf(
  { isolation, encoder, limits }: Configuration,
  log: Logger,
  cgroups: Cgroups | undefined,
): Isolation | undefined {
  if (isolation === "none") return undefined;
  const reason = whyUnconfined(workerRules(encoder.order));
  if (reason !== undefined) log.warn({ reason }, "workers run without a sandbox for files");
  const unweighed = cgroups === undefined ? whyUnweighed() : undefined;
  if (unweighed !== undefined) {
    log.warn({ reason: unweighed }, "workers whose guests flood them can delay other VMs' frames");
  }
  const launcher = new WorkerLauncher({
    ...{ confine: reason === undefined, encoders: encoder.order, ahead: true, log },
    onStart: (child) => {
      cgroups?.limit(child, WORKER, { memoryMiB: limits.worker_mib, tasks: MAX_TASKS });
      weigh(child, (weight) => {
        if (cgroups === undefined) weighSession(child, weight);
        else cgroups.weigh(child, WORKER, weight);
      });
    },
  });
  return {
    isolate: (parts) => new WorkerHost(parts, { launcher }),
    close: () => launcher.close(),
  };
}
