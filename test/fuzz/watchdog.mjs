/** The thread of watchdog.ts, which looks once a second: a thread that hangs cannot watch itself. */
import { writeFileSync } from "node:fs";
import { workerData } from "node:worker_threads";

const { shared, file, hangSeconds } = workerData;
const [state, bytes] = [new Int32Array(shared, 0, 3), new Uint8Array(shared, 12)];
for (let last = 0, seconds = 0; ; ) {
  // The third number never changes: this only waits.
  Atomics.wait(state, 2, 0, 1000);
  const count = Atomics.load(state, 0);
  // An odd count: an input runs.
  seconds = count === last && count % 2 !== 0 ? seconds + 1 : 0;
  last = count;
  if (seconds < hangSeconds) continue;
  writeFileSync(file, bytes.subarray(0, Atomics.load(state, 1)));
  writeFileSync(2, `an input has not ended after ${hangSeconds} s; it is in ${file}\n`);
  process.kill(process.pid, "SIGKILL");
}
