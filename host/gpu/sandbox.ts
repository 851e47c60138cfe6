/**
 * What a GPU process may do (Linux): it listens in the folders of its two sockets and writes its recording. The guest's memory,
 * doorbells and connections come to it as descriptors (host/native/sandbox.ts).
 */
import { closeSync, openSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { type FileRules, NODE_SYSTEM_CALLS } from "../native/sandbox.ts";

/** Where memory of QEMU is that is no memfd (memory-backend-shm, -file). It is opened again for relays, by its descriptor. */
const MEMORY = ["/dev/shm", "/dev/hugepages"];

/** System calls of a GPU process whose sockets listen. */
export const GPU_SYSTEM_CALLS: readonly string[] = [
  ...NODE_SYSTEM_CALLS,
  // Connections, the end of the sockets, and the mode of the guest's memory.
  ...["accept4", "unlink", "unlinkat", "fchmod"],
];

/**
 * Its files.
 *
 * @param sockets where it listens
 * @param recording a file that it writes, created here if it does not exist
 */
export function gpuRules(sockets: readonly string[], recording: string | undefined): FileRules {
  if (recording !== undefined) {
    try {
      closeSync(openSync(recording, "a", 0o600));
    } catch {
      // The recorder reports why it cannot be written.
    }
  }
  return {
    sockets: sockets.map((path) => dirname(resolve(path))),
    memory: MEMORY,
    write: recording === undefined ? [] : [resolve(recording)],
  };
}
