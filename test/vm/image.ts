/**
 * A test guest's image: a Debian root disk, its kernel and initrd, and a build tree (the same system with compilers)
 * in which the guest's own software is compiled. Made by image/build-image.sh from the machine's Debian mirror, cached
 * by the content of everything that determines it.
 *
 * Debian 13 (trixie) is where the whole project is tested. Debian 12 (bookworm) shows the GPU to an older kernel: it is
 * small and has neither GStreamer nor compilers, and so no software of ours. The desktop's image is trixie's with
 * compositor, X server and what they show; its software of ours is compiled in trixie's own build tree.
 *
 * The script runs in a mount namespace of its own, so nothing that it mounts outlives it; an ordinary user gets a user
 * namespace too, in which he is root (needs the package uidmap and ids in /etc/subuid).
 */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { errorText } from "../../common/error-text.ts";
import { cacheRoot, contentKey, staleEntries, touch, withLock } from "./cache.ts";
import { findDebianMirror } from "./debian-mirror.ts";
import { ImageError, tail } from "./errors.ts";

const SCRIPTS = join(dirname(fileURLToPath(import.meta.url)), "image");
export const SUITES = ["trixie", "bookworm"] as const;
export type Suite = (typeof SUITES)[number];
/** What guest/desktop can start. */
export const DESKTOPS = ["weston", "pipewire", "xorg"] as const;
export type Desktop = (typeof DESKTOPS)[number];
/** An image's name: a suite by itself, or trixie with what a desktop needs besides. */
type ImageName = Suite | "desktop";
/** The cloud kernel boots no faster and lacks virtio_gpu and 9p. */
const KERNEL_PACKAGE = "linux-image-amd64";

/** What every guest needs. */
const BASE_PACKAGES = [
  "busybox-static", // the initrd's shell
  "kmod", // modprobe
  "procps", // ps, pgrep, pkill for tests
  "libdrm2",
  "libdrm-tests", // modetest
];

/** What runs in a guest with our software, on top of the above. */
const RUNTIME_PACKAGES = [
  "nodejs", // the command vsockenc
  "strace", // to see ioctls
  "gstreamer1.0-tools",
  "gstreamer1.0-plugins-base", // videotestsrc, videoconvert, appsrc
  "gstreamer1.0-plugins-good",
  "gstreamer1.0-plugins-bad", // h264parse, kmssink, waylandsink's allocators
];

/** What a screen with windows needs (guest/desktop), on top of both of the above. */
const DESKTOP_PACKAGES = [
  "udev", // input devices, which compositors take from it alone
  "weston", // the Wayland desktop: compositor, terminal, clock, things that move
  "xserver-xorg-core", // the X11 desktop
  "xserver-xorg-input-libinput",
  "x11-xserver-utils", // xsetroot, xrandr
  "x11-apps", // xclock, xeyes
  "x11-utils", // xwininfo
  "xterm",
  "xfonts-base", // what an X server does not start without
  "fonts-dejavu-core",
  "gstreamer1.0-x", // ximagesink
  "pipewire",
  "pipewire-bin",
  "gstreamer1.0-pipewire",
];

/** What compiles the guest's own software, on top of the above. */
const BUILD_PACKAGES = [
  "gcc",
  "g++",
  "cmake",
  "ninja-build",
  "pkg-config",
  "libgstreamer1.0-dev",
  "libgstreamer-plugins-base1.0-dev",
  "libgstreamer-plugins-bad1.0-dev",
  "libdrm-dev",
  "libnanopb-dev",
  "zlib1g-dev",
];

/** Loaded in the initrd, with what they depend on: bus, ports, disk, file systems, entropy, GPU. Some are built in. */
const MODULES = [
  "virtio_pci",
  "virtio_console",
  "virtio_blk",
  "ext4",
  "9p",
  "9pnet_virtio",
  "virtio_rng",
  "virtio_gpu",
];

interface Recipe {
  readonly suite: Suite;
  readonly runtime: readonly string[];
  /** None: an image without a build tree of its own. */
  readonly build: readonly string[];
  /** The image of the same suite in whose build tree our software is compiled, when it is not this one. */
  readonly buildIn?: ImageName;
  /** For people who wait. */
  readonly cost: string;
}

const RECIPES: Readonly<Record<ImageName, Recipe>> = {
  trixie: {
    suite: "trixie",
    runtime: [...BASE_PACKAGES, ...RUNTIME_PACKAGES],
    build: BUILD_PACKAGES,
    cost: "two to four minutes, 3 GB",
  },
  bookworm: {
    suite: "bookworm",
    runtime: [...BASE_PACKAGES, "mount"],
    build: [],
    cost: "about a minute, 1 GB",
  },
  desktop: {
    suite: "trixie",
    runtime: [...BASE_PACKAGES, ...RUNTIME_PACKAGES, ...DESKTOP_PACKAGES],
    build: [],
    buildIn: "trixie",
    cost: "two minutes, 2 GB",
  },
};

/** Two of each, so that a checkout with another recipe does not undo this one's at every turn. */
const IMAGES_KEPT = 2 * Object.keys(RECIPES).length;
const BUILD_TIMEOUT_MS = 20 * 60_000;

export interface GuestImage {
  key: string;
  directory: string;
  kernel: string;
  initrd: string;
  rootDisk: string;
  /** The root folder of the system with compilers; undefined if the suite has none. */
  buildTree: string | undefined;
}

/** An image by its present recipe, made now if there is none. */
export async function ensureImage(name: ImageName, log: (line: string) => void): Promise<GuestImage> {
  const script = readFileSync(join(SCRIPTS, "build-image.sh"));
  const { suite, runtime, build, buildIn } = RECIPES[name];
  const lists = [runtime, build, MODULES].map((list) => list.join(" "));
  const key = contentKey([script, suite, KERNEL_PACKAGE, ...lists]);
  const directory = join(cacheRoot(), `image-${key}`);
  const image: GuestImage = {
    key,
    directory,
    kernel: join(directory, "kernel"),
    initrd: join(directory, "initrd"),
    rootDisk: join(directory, "root.img"),
    buildTree: build.length === 0 ? undefined : join(directory, "tree"),
  };
  if (buildIn !== undefined) image.buildTree = (await ensureImage(buildIn, log)).buildTree;
  if (existsSync(directory)) {
    touch(directory);
    return image;
  }
  const waiting = () => log("waiting for another process which makes the test guest's image");
  await withLock("image", waiting, async () => {
    if (!existsSync(directory)) {
      await makeImage(name, directory, log);
    }
  });
  return image;
}

async function makeImage(name: ImageName, directory: string, log: (line: string) => void): Promise<void> {
  const { suite, runtime, build, cost } = RECIPES[name];
  const mirror = findDebianMirror();
  const started = Date.now();
  const unfinished = join(cacheRoot(), "unfinished-image");
  log(`making the test guest's image "${name}" (once, ${cost} in ${dirname(directory)})`);
  await removeTree(unfinished);
  mkdirSync(unfinished, { recursive: true });
  const environment = {
    SUITE: suite,
    MIRROR: mirror.url,
    KEYRING: mirror.keyring,
    KERNEL_PACKAGE,
    RUNTIME_PACKAGES: runtime.join(","),
    BUILD_PACKAGES: build.join(" "),
    MODULES: MODULES.join(" "),
  };
  await runAsRoot(join(SCRIPTS, "build-image.sh"), unfinished, environment, BUILD_TIMEOUT_MS, log);
  renameSync(unfinished, directory);
  log(`the image is ready after ${Math.round((Date.now() - started) / 1000)} s`);
  for (const path of staleEntries(cacheRoot(), "image-", IMAGES_KEPT)) {
    await removeTree(path);
  }
}

/** Removes a folder whose files may belong to other ids of the user's range. */
export async function removeTree(path: string): Promise<void> {
  if (existsSync(path)) {
    await spawnAsRoot(["rm", "-rf", "--one-file-system", path], cacheRoot(), {}, BUILD_TIMEOUT_MS, () => {});
  }
}

/** Runs one of our scripts as root in a mount namespace; its "vsockenc-progress:" lines go to `log`. */
export async function runAsRoot(
  script: string,
  directory: string,
  environment: Record<string, string>,
  timeoutMs: number,
  log: (line: string) => void,
): Promise<void> {
  await spawnAsRoot(["sh", script], directory, environment, timeoutMs, log);
}

async function spawnAsRoot(
  command: string[],
  directory: string,
  environment: Record<string, string>,
  timeoutMs: number,
  log: (line: string) => void,
): Promise<void> {
  // --kill-child: whatever a failed or ended script started ends with it.
  const identity = process.getuid?.() === 0 ? [] : ["--map-root-user", "--map-auto"];
  const flags = [...identity, "--mount", "--pid", "--fork", "--kill-child"];
  const child = spawn("unshare", [...flags, "--", ...command], {
    cwd: directory,
    env: {
      ...process.env,
      LC_ALL: "C",
      PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`,
      ...environment,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  const keep = (line: string): void => {
    const progress = /^vsockenc-progress: (.*)/.exec(line)?.[1];
    if (progress !== undefined) {
      log(`  ${progress}`);
    }
    output = `${output}${line}\n`.slice(-64 * 1024);
  };
  createInterface({ input: child.stdout }).on("line", keep);
  createInterface({ input: child.stderr }).on("line", keep);
  const end = (): void => void child.kill("SIGKILL");
  const timer = setTimeout(end, timeoutMs);
  process.once("exit", end);
  try {
    const status = await new Promise<number | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", resolve);
    });
    if (status !== 0) {
      const what =
        status === null ? `was ended (limit ${timeoutMs / 1000} s)` : `failed with status ${status}`;
      throw new ImageError(
        `${command.join(" ")} ${what}. Is all of "npm run setup -- --for vm" done?`,
        tail(output, 40),
      );
    }
  } catch (error) {
    throw error instanceof ImageError ? error : new ImageError(`Cannot run unshare: ${errorText(error)}`);
  } finally {
    clearTimeout(timer);
    process.removeListener("exit", end);
  }
}
