import type { Logger } from "pino";
import type { Configuration } from "../config.ts";
import { whyUnconfined } from "../native/sandbox.ts";
import type { Isolate } from "../relay/relay.ts";
import { WorkerLauncher } from "./launcher.ts";
import { workerRules } from "./sandbox.ts";
import { WorkerHost } from "./worker-host.ts";

/** Workers for a relay's VMs. */
export interface Isolation {
  readonly isolate: Isolate;
  close(): void;
}

/** The isolation of a configuration; undefined for "none". Logs what this system cannot do. */
export function isolationOf({ isolation, encoder }: Configuration, log: Logger): Isolation | undefined {
  if (isolation === "none") return undefined;
  const reason = whyUnconfined(workerRules(encoder.order));
  if (reason !== undefined) log.warn({ reason }, "workers run without a sandbox for files");
  const options = { confine: reason === undefined, encoders: encoder.order, ahead: true, log };
  const launcher = new WorkerLauncher(options);
  return {
    isolate: (parts) => new WorkerHost(parts, { launcher }),
    close: () => launcher.close(),
  };
}
