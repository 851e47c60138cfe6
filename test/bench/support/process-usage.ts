/** Resources of a process, from Linux's /proc. */
import { readdirSync, readFileSync } from "node:fs";

/** Name of the encoder sessions' threads (host/native/media/encoder/session.cc). */
const ENCODER_THREAD = "vsockenc-encode";

export interface CpuTime {
  /** Nanoseconds on a CPU of the threads that encode. */
  readonly encoders: number;
  /** Of all other threads: JavaScript, its helpers, the poll thread. */
  readonly others: number;
}

export function cpuTime(pid: number): CpuTime {
  const times = { encoders: 0, others: 0 };
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const folder = `/proc/${pid}/task/${thread}`;
    const name = readFileSync(`${folder}/comm`, "utf8").trim();
    // The first field of schedstat counts nanoseconds; stat counts ticks of 10 ms, too coarse for a few per cent.
    const nanoseconds = Number(readFileSync(`${folder}/schedstat`, "utf8").split(" ")[0]);
    times[name === ENCODER_THREAD ? "encoders" : "others"] += nanoseconds;
  }
  return times;
}

/** Resident memory in bytes, without shared pages (the guest's pictures, which the relay only maps). */
export function privateMemory(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/^RssAnon:\s+(\d+) kB/m.exec(status)?.[1]) * 1024;
}
