#!/usr/bin/env node
/** The process of a VM's worker, which the relay starts with a connection as descriptor 3 (host/workers). */
import { errorText } from "../common/error-text.ts";
import { createLogger } from "../common/log.ts";
import { VmSources } from "../host/heads/vm-sources.ts";
import { os } from "../host/native/os-addon.ts";
import { onWatchError } from "../host/native/poller.ts";
import { Worker } from "../host/workers/worker.ts";

const CONNECTION = 3;
/** How long an orderly end may take. */
const GRACE_MS = 1000;

os.setNonBlocking(CONNECTION);
const worker = new Worker(CONNECTION, {
  log: ({ log, vm }) => createLogger("worker", log.level).child(vm === undefined ? {} : { vm: vm.name }),
  show: (offers, parts) => new VmSources(offers, parts),
  onEnd: (error) => {
    if (error !== undefined) {
      console.error(`vsockenc: the worker ends: ${errorText(error)}`);
      process.exitCode = 1;
    }
    worker.close();
    setTimeout(() => process.exit(), GRACE_MS).unref();
  },
});
onWatchError((error) => {
  throw error;
});
