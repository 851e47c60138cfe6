import { readdirSync, readFileSync } from "node:fs";

/** What `read` gives, or `absent` if the process or thread that is looked at has ended meanwhile. */
export function unlessEnded<T>(read: () => T, absent: T): T {
  try {
    return read();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ESRCH") return absent;
    throw error;
  }
}

/** Ids of a process and of those that it has started, as a relay starts workers. */
export function processTree(pid: number): number[] {
  const threads = unlessEnded(() => readdirSync(`/proc/${pid}/task`), []);
  const children = threads.flatMap((thread) =>
    unlessEnded(() => readFileSync(`/proc/${pid}/task/${thread}/children`, "utf8"), "")
      .trim()
      .split(" ")
      .filter(Boolean)
      .map(Number),
  );
  return [pid, ...children.flatMap(processTree)];
}
