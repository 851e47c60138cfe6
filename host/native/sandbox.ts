/**
 * Confines a process of Node (Linux). Landlock refuses files outside its rules, TCP and signals to others from the process's
 * start (confine/confine.c); seccomp refuses all but a list of system calls, once the process has what it needs:
 * no new sockets, no programs, no look into other processes. Off Linux, or without a kernel's help, nothing is confined, and
 * the caller says so.
 */
import { spawnSync } from "node:child_process";
import { realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { Logger } from "pino";
import { errorText } from "../../common/error-text.ts";
import { addonFile, nativeFolder } from "../../common/load-addon.ts";
import { packageRoot } from "../../common/package-root.ts";
import { os } from "./os-addon.ts";

/** What a process may do with files, besides reading those of the system, Node and this package. */
export interface FileRules {
  /** Read below these. */
  readonly read?: readonly string[];
  /** Open these and what is below them, for reading and writing. */
  readonly devices?: readonly string[];
  /** Create sockets in these folders, and remove files. */
  readonly sockets?: readonly string[];
  /** Read files below these, without lists of names. */
  readonly memory?: readonly string[];
  /** Write these, which exist. */
  readonly write?: readonly string[];
}

/** A program with the words before it that confine it. */
export interface Confined {
  readonly command: string;
  readonly args: readonly string[];
}

/** Own files of the process: a later path of the same number belongs to another. */
const SYSTEM_FILES = ["/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/proc/self", "/dev/urandom"];
const NO_FILE = "/dev/null";
const ADDON = JSON.stringify(addonFile("os"));
/** In the environment of a process that has confined itself. */
const CONFINED = "VSOCKENC_CONFINED";

const words = (...lines: readonly string[]): readonly string[] => lines.flatMap((line) => line.split(" "));

/** System calls of Node, once its program is loaded. */
export const NODE_SYSTEM_CALLS: readonly string[] = words(
  // Descriptors that are open, and files that Landlock allows.
  "read write readv writev pread64 pwrite64 preadv pwritev close close_range dup dup2 dup3 fcntl ioctl lseek",
  "open openat access faccessat faccessat2 stat lstat fstat newfstatat statx readlink readlinkat",
  "getdents64 getcwd statfs fstatfs ftruncate pipe pipe2 eventfd2",
  "sendmsg recvmsg sendto recvfrom sendmmsg getsockopt setsockopt getsockname getpeername shutdown",
  "epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 poll ppoll select pselect6",
  // Memory.
  "mmap munmap mremap mprotect madvise mincore brk membarrier pkey_alloc pkey_free pkey_mprotect",
  // Threads and time.
  "clone clone3 futex futex_waitv set_robust_list get_robust_list rseq set_tid_address exit exit_group",
  "sched_yield sched_getaffinity sched_getparam sched_getscheduler getpriority",
  "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigtimedwait sigaltstack restart_syscall tgkill",
  "nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time",
  "timerfd_create timerfd_settime timerfd_gettime",
  // About itself.
  "getpid gettid getppid getuid geteuid getgid getegid getgroups getrusage times getrlimit prlimit64",
  "prctl arch_prctl uname sysinfo getcpu getrandom",
);

/** System calls of encoders: memory near its thread, threads with a priority, files of drivers. */
export const ENCODER_SYSTEM_CALLS: readonly string[] = words(
  "memfd_create fallocate flock msync mlock munlock get_mempolicy mbind set_mempolicy",
  "sched_setaffinity sched_get_priority_max sched_get_priority_min sched_setscheduler setpriority",
  "timer_create timer_settime timer_delete",
);

/** The environment of a confined process: nothing here needs OpenSSL's files, which it cannot read. */
export function confinedEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, OPENSSL_CONF: NO_FILE, NODE_EXTRA_CA_CERTS: undefined };
}

/** Why processes of this machine are not confined by these rules; undefined where they are. Tries it. */
export function whyUnconfined(rules: FileRules): string | undefined {
  if (process.platform !== "linux") return "the sandbox needs Linux";
  return failureOf(confined(["-e", `require(${ADDON})`], rules));
}

/** Why system calls of this machine's processes are not filtered; undefined where they are. Tries it. */
export function whyUnfiltered(): string | undefined {
  const calls = JSON.stringify(NODE_SYSTEM_CALLS);
  const script = `try { require(${ADDON}).allowSystemCalls(${calls}) } catch ({ message }) { console.error(message); process.exitCode = 1 }`;
  return failureOf({ command: process.execPath, args: ["-e", script] });
}

function failureOf({ command, args }: Confined): string | undefined {
  const { status, stderr, error } = spawnSync(command, args, {
    encoding: "utf8",
    env: confinedEnvironment(),
  });
  if (error !== undefined) return error.message;
  return status === 0 ? undefined : stderr.trim() || `it ended with status ${status}`;
}

/**
 * Node, confined.
 *
 * @param nodeArguments a script of this package, and its arguments
 */
export function confined(nodeArguments: readonly string[], rules: FileRules): Confined {
  const node = realpathSync(process.execPath);
  const own = [...SYSTEM_FILES, dirname(node), nativeFolder(), packageRoot];
  // Where this package is installed beside its dependencies.
  if (basename(dirname(packageRoot)) === "node_modules") own.push(dirname(packageRoot));
  const options = (name: string, paths: readonly string[] = []) => paths.flatMap((path) => [name, path]);
  const args = [
    ...options("--read", [...own, ...(rules.read ?? [])]),
    ...options("--device", [NO_FILE, ...(rules.devices ?? [])]),
    ...options("--sockets", rules.sockets),
    ...options("--memory", rules.memory),
    ...options("--write", rules.write),
  ];
  return { command: join(nativeFolder(), "vsockenc-confine"), args: [...args, "--", node, ...nodeArguments] };
}

/**
 * Confines this process, which runs its program again from the start, under the same id. The second time, returns at once.
 *
 * @param descriptors that it keeps, besides standard ones
 * @returns why it is not confined, where it cannot be
 */
export function confineSelf(rules: FileRules, descriptors: readonly number[]): string | undefined {
  if (process.env[CONFINED] !== undefined) return undefined;
  const why = whyUnconfined(rules);
  if (why !== undefined) return why;
  const { command, args } = confined([...process.execArgv, ...process.argv.slice(1)], rules);
  Object.assign(process.env, { OPENSSL_CONF: NO_FILE, [CONFINED]: "1" });
  delete process.env["NODE_EXTRA_CA_CERTS"];
  try {
    return os.execute(command, args, [0, 1, 2, ...descriptors]);
  } catch (error) {
    return errorText(error);
  }
}

/** Leaves this process these system calls, and no others. Logs where that is impossible. */
export function filterSystemCalls(names: readonly string[], log: Logger): void {
  if (process.platform !== "linux") return;
  try {
    os.allowSystemCalls(names);
  } catch (error) {
    log.warn({ err: error }, "this process runs without a filter of system calls");
  }
}
