/**
 * What a worker may do (Linux): it reads the files of the system, Node and this package, opens the device nodes of its
 * encoders, and uses the descriptors that the relay sends it. Landlock refuses other files, TCP and signals from the
 * process's start (host/native/confine); seccomp refuses all but the system calls of encoding once it has started: no new
 * sockets, no programs, no look into other processes.
 */
import { spawnSync } from "node:child_process";
import { realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { nativeFolder } from "../../common/load-addon.ts";
import { packageRoot } from "../../common/package-root.ts";
import { MAX_NVIDIA_GPUS } from "../config.ts";
import type { EncoderName } from "../encoders/index.ts";

/** Own files of the process: a later path of the same number belongs to another. */
const SYSTEM_FILES = ["/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/proc/self", "/dev/urandom"];
/** Which render nodes there are, by libdrm. */
const VAAPI = { read: ["/sys/dev/char", "/sys/devices", "/etc/vulkan"], devices: ["/dev/dri"] };
const NVENC = {
  read: ["/sys/devices", "/proc/driver/nvidia"],
  devices: [
    ...["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"],
    ...Array.from({ length: MAX_NVIDIA_GPUS }, (_, index) => `/dev/nvidia${index}`),
  ],
};

/** System calls of Node, libx264 and libavcodec with its hardware, once they run. */
export const WORKER_SYSTEM_CALLS: readonly string[] = [
  // Descriptors that are open, and files that Landlock allows.
  ..."read write readv writev pread64 pwrite64 preadv pwritev close close_range dup dup2 dup3 fcntl ioctl lseek".split(
    " ",
  ),
  ..."open openat access faccessat faccessat2 stat lstat fstat newfstatat statx readlink readlinkat".split(
    " ",
  ),
  ..."getdents64 getcwd statfs fstatfs ftruncate fallocate flock pipe pipe2 eventfd2 memfd_create".split(" "),
  ..."sendmsg recvmsg sendto recvfrom sendmmsg getsockopt setsockopt getsockname getpeername shutdown".split(
    " ",
  ),
  ..."epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 poll ppoll select pselect6".split(" "),
  // Memory.
  ..."mmap munmap mremap mprotect madvise mincore msync mlock munlock brk membarrier".split(" "),
  ..."pkey_alloc pkey_free pkey_mprotect get_mempolicy mbind set_mempolicy".split(" "),
  // Threads and time.
  ..."clone clone3 futex futex_waitv set_robust_list get_robust_list rseq set_tid_address exit exit_group".split(
    " ",
  ),
  ..."sched_yield sched_getaffinity sched_setaffinity sched_getparam sched_getscheduler".split(" "),
  ..."sched_get_priority_max sched_get_priority_min sched_setscheduler getpriority setpriority".split(" "),
  ..."rt_sigaction rt_sigprocmask rt_sigreturn rt_sigtimedwait sigaltstack restart_syscall tgkill".split(" "),
  ..."nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time".split(" "),
  ..."timerfd_create timerfd_settime timerfd_gettime timer_create timer_settime timer_delete".split(" "),
  // About itself.
  ..."getpid gettid getppid getuid geteuid getgid getegid getgroups getrusage times getrlimit prlimit64".split(
    " ",
  ),
  ..."prctl arch_prctl uname sysinfo getcpu getrandom".split(" "),
];

/** A program with the words before it that confine it. */
export interface Confined {
  readonly command: string;
  readonly args: readonly string[];
}

/** The environment of a confined process: nothing here needs OpenSSL's files, which it cannot read. */
export function confinedEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, OPENSSL_CONF: "/dev/null", NODE_EXTRA_CA_CERTS: undefined };
}

/** Why the workers of this machine are not confined; undefined where they are. Tries it. */
export function whyUnconfined(encoders: readonly EncoderName[]): string | undefined {
  if (process.platform !== "linux") return "the sandbox needs Linux";
  const { command, args } = confined(["-e", "0"], encoders);
  const { status, stderr, error } = spawnSync(command, args, {
    encoding: "utf8",
    env: confinedEnvironment(),
  });
  if (error !== undefined) return error.message;
  return status === 0 ? undefined : stderr.trim() || `vsockenc-confine ended with status ${status}`;
}

/**
 * Node, confined to what the encoders need.
 *
 * @param nodeArguments a script of this package, and its arguments
 */
export function confined(nodeArguments: readonly string[], encoders: readonly EncoderName[]): Confined {
  const node = realpathSync(process.execPath);
  const hardware = [
    ...(encoders.some((name) => name.endsWith("_vaapi")) ? [VAAPI] : []),
    ...(encoders.some((name) => name.endsWith("_nvenc")) ? [NVENC] : []),
  ];
  const read = [
    ...[...SYSTEM_FILES, dirname(node), packageRoot, nativeFolder()],
    ...hardware.flatMap((each) => each.read),
  ];
  const devices = ["/dev/null", ...hardware.flatMap((each) => each.devices)];
  const rules = [
    ...read.flatMap((path) => ["--read", path]),
    ...devices.flatMap((path) => ["--device", path]),
  ];
  return { command: confine(), args: [...rules, "--", node, ...nodeArguments] };
}

function confine(): string {
  return join(nativeFolder(), "vsockenc-confine");
}
