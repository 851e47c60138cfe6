/**
 * A test guest's image: a Debian root disk, its kernel and initrd, and a build tree (the same system with compilers) in
 * which the guest's software is compiled. Built by image/build-image.sh from the machine's Debian mirror, cached by the
 * content of all inputs.
 *
 * Debian 13 (trixie) is for the whole project. Debian 12 (bookworm) tests the GPU with an older kernel: it has neither
 * GStreamer nor compilers, hence no software of ours. The desktop image is trixie with a compositor and an X server; its
 * software of ours is compiled in trixie's build tree.
 *
 * The script runs in a mount namespace of its own, so its mounts do not outlive it; users other than root get a user
 * namespace, too (which needs the package uidmap and ids in /etc/subuid).
 */
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { errorText } from "../../common/error-text.ts";
import { BUILD_HANG_MS } from "../support/hang.ts";
import { cacheRoot, contentKey, staleEntries, touch, withLock } from "./cache.ts";
import { ImageError, RequirementError, tail } from "./errors.ts";

/** For machines whose apt has no Debian mirror, e.g. Ubuntu. */
const MIRROR_VARIABLE = "VSOCKENC_DEBIAN_MIRROR";
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
const SCRIPTS = join(import.meta.dirname, "image");
export const SUITES = ["trixie", "bookworm"] as const;
export type Suite = (typeof SUITES)[number];
/** The desktops of guest/desktop. */
export const DESKTOPS = ["weston", "pipewire", "xorg"] as const;
export type Desktop = (typeof DESKTOPS)[number];
/** A suite by itself, or trixie with a desktop. */
type ImageName = Suite | "desktop";
/** Not the cloud kernel, which boots no faster and lacks virtio_gpu and 9p. */
const KERNEL_PACKAGE = "linux-image-amd64";

/** For every guest. */
const BASE_PACKAGES = [
  "busybox-static", // the initrd's shell
  "kmod", // modprobe
  "procps", // ps, pgrep, pkill for tests
  "libdrm2",
  "libdrm-tests", // modetest
];

/** For a guest with our software, on top of the above. */
const RUNTIME_PACKAGES = [
  "nodejs", // the command vsockenc
  "strace", // to see ioctls
  "gstreamer1.0-tools",
  "gstreamer1.0-plugins-base", // videotestsrc, videoconvert, appsrc
  "gstreamer1.0-plugins-good",
  "gstreamer1.0-plugins-bad", // h264parse, kmssink, waylandsink's allocators
  "gstreamer1.0-gl", // glupload, gldownload
  "libgl1-mesa-dri", // virgl's driver
  "libegl1",
  "libgles2",
  "libgbm1",
  "libepoxy0", // test/guest/glsrc.c
];

/** For a desktop (guest/desktop), on top of both of the above. */
const DESKTOP_PACKAGES = [
  "udev", // the only source of input devices for compositors
  "weston", // the Wayland desktop: compositor, terminal, clock, animation
  "xserver-xorg-core", // the X11 desktop
  "xserver-xorg-input-libinput",
  "x11-xserver-utils", // xsetroot, xrandr
  "x11-apps", // xclock, xeyes
  "x11-utils", // xwininfo
  "xterm",
  "xfonts-base", // required by the X server
  "fonts-dejavu-core",
  "gstreamer1.0-x", // ximagesink
  "pipewire",
  "pipewire-bin",
  "gstreamer1.0-pipewire",
];

/** For compiling the guest's software, on top of the above. */
const BUILD_PACKAGES =
  "gcc g++ cmake ninja-build pkg-config libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev " +
  "libgstreamer-plugins-bad1.0-dev libdrm-dev libgbm-dev libepoxy-dev libnanopb-dev zlib1g-dev";

/** Debian 13's QEMU and virglrenderer, which run in the build tree (tree-command.ts). */
const QEMU_PACKAGES = "qemu-system-x86 qemu-system-gui qemu-system-modules-opengl seabios libvirglrenderer1";

/** Loaded in the initrd, with their dependencies. Some are built in. */
const MODULES = "virtio_pci virtio_console virtio_blk ext4 9p 9pnet_virtio virtio_rng virtio_gpu";

interface Recipe {
  readonly suite: Suite;
  readonly runtime: readonly string[];
  /** Empty: no build tree of its own. */
  readonly build: string;
  /** The image in whose build tree our software is compiled, if it is another one. */
  readonly buildIn?: ImageName;
  /** Shown to the user, who has to wait. */
  readonly cost: string;
}

const RECIPES: Readonly<Record<ImageName, Recipe>> = {
  trixie: {
    suite: "trixie",
    runtime: [...BASE_PACKAGES, ...RUNTIME_PACKAGES],
    build: `${BUILD_PACKAGES} ${QEMU_PACKAGES}`,
    cost: "two to four minutes, 3 GB",
  },
  bookworm: {
    suite: "bookworm",
    runtime: [...BASE_PACKAGES, "mount"],
    build: "",
    cost: "about a minute, 1 GB",
  },
  desktop: {
    suite: "trixie",
    runtime: [...BASE_PACKAGES, ...RUNTIME_PACKAGES, ...DESKTOP_PACKAGES],
    build: "",
    buildIn: "trixie",
    cost: "two minutes, 2 GB",
  },
};

/** Two of each, so that two checkouts with different recipes do not evict each other's. */
const IMAGES_KEPT = 2 * Object.keys(RECIPES).length;

export interface GuestImage {
  key: string;
  directory: string;
  kernel: string;
  initrd: string;
  rootDisk: string;
  /** The root folder of the system with compilers; undefined without one. */
  buildTree: string | undefined;
}

/** The image of the current recipe, built if it is not cached. */
export async function ensureImage(name: ImageName, log: (line: string) => void): Promise<GuestImage> {
  const script = readFileSync(join(SCRIPTS, "build-image.sh"));
  const { suite, runtime, build, buildIn } = RECIPES[name];
  const key = contentKey([script, suite, KERNEL_PACKAGE, runtime.join(" "), build, MODULES]);
  const directory = join(cacheRoot(), `image-${key}`);
  const image: GuestImage = {
    key,
    directory,
    kernel: join(directory, "kernel"),
    initrd: join(directory, "initrd"),
    rootDisk: join(directory, "root.img"),
    buildTree: build === "" ? undefined : join(directory, "tree"),
  };
  if (buildIn !== undefined) image.buildTree = (await ensureImage(buildIn, log)).buildTree;
  if (existsSync(directory)) {
    touch(directory);
    return image;
  }
  const onWait = () => log("waiting for another process that builds the test guest's image");
  await withLock("image", onWait, async () => {
    if (!existsSync(directory)) await buildImage(name, directory, log);
  });
  return image;
}

/** The first Debian mirror in lines of "SITE ORIGIN CODENAME" (Debian's security archive has another layout). */
export function mirrorFromTargets(lines: string): string | undefined {
  const targets = lines.split("\n").map((line) => line.trim().split(/\s+/));
  return targets.find(([, origin, codename]) => origin === "Debian" && !codename?.includes("security"))?.[0];
}

/** The mirror of the guest's packages: the one in this machine's apt configuration. @throws RequirementError */
function findDebianMirror(): string {
  if (!existsSync(KEYRING)) {
    throw new RequirementError(
      `Debian's keys are not installed (${KEYRING}). Run: npm run setup -- --for vm`,
    );
  }
  const format = ["indextargets", "--format", "$(SITE) $(ORIGIN) $(CODENAME)"];
  const url =
    process.env[MIRROR_VARIABLE] || mirrorFromTargets(execFileSync("apt-get", format, { encoding: "utf8" }));
  if (url !== undefined) return url;
  throw new RequirementError(
    `apt's sources contain no Debian mirror, which the test guest needs. Run "apt-get update" if apt has not read its ` +
      `lists yet, or set ${MIRROR_VARIABLE} to a mirror's address (as in a Debian machine's sources.list).`,
  );
}

async function buildImage(name: ImageName, directory: string, log: (line: string) => void): Promise<void> {
  const { suite, runtime, build, cost } = RECIPES[name];
  const mirror = findDebianMirror();
  const started = Date.now();
  const unfinished = join(cacheRoot(), "unfinished-image");
  log(`building the test guest's image "${name}" (once, ${cost} in ${dirname(directory)})`);
  await removeTree(unfinished);
  mkdirSync(unfinished, { recursive: true });
  const environment = {
    SUITE: suite,
    MIRROR: mirror,
    KEYRING,
    KERNEL_PACKAGE,
    RUNTIME_PACKAGES: runtime.join(","),
    BUILD_PACKAGES: build,
    MODULES,
  };
  await runAsRoot(["sh", join(SCRIPTS, "build-image.sh")], unfinished, environment, log);
  renameSync(unfinished, directory);
  log(`the image is ready after ${Math.round((Date.now() - started) / 1000)} s`);
  for (const path of staleEntries(cacheRoot(), "image-", IMAGES_KEPT)) await removeTree(path);
}

/** Removes a folder whose files may belong to other ids of the user's range. */
export async function removeTree(path: string): Promise<void> {
  if (existsSync(path)) await runAsRoot(["rm", "-rf", "--one-file-system", path], cacheRoot(), {}, () => {});
}

/** The words before a command that runs as root in namespaces of its own. @param flags unshare(1)'s */
export function asRoot(...flags: readonly string[]): string[] {
  const identity = process.getuid?.() === 0 ? [] : ["--map-root-user", "--map-auto"];
  return ["unshare", ...identity, ...flags, "--"];
}

/** Runs a command as root in a mount namespace; its "vsockenc-progress:" lines go to `log`. */
export async function runAsRoot(
  command: string[],
  directory: string,
  environment: Record<string, string>,
  log: (line: string) => void,
): Promise<void> {
  // --kill-child: everything that the script started ends with it.
  const [program = "", ...flags] = asRoot("--mount", "--pid", "--fork", "--kill-child");
  const child = spawn(program, [...flags, ...command], {
    cwd: directory,
    env: { ...process.env, LC_ALL: "C", PATH: `${process.env["PATH"]}:/usr/sbin:/sbin`, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  const keep = (line: string): void => {
    const progress = /^vsockenc-progress: (.*)/.exec(line)?.[1];
    if (progress !== undefined) log(`  ${progress}`);
    output = `${output}${line}\n`.slice(-64 * 1024);
  };
  createInterface({ input: child.stdout }).on("line", keep);
  createInterface({ input: child.stderr }).on("line", keep);
  const end = (): void => void child.kill("SIGKILL");
  const timer = setTimeout(end, BUILD_HANG_MS);
  process.once("exit", end);
  try {
    const status = await new Promise<number | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", resolve);
    });
    if (status !== 0) {
      const what =
        status === null ? `was ended (limit ${BUILD_HANG_MS / 1000} s)` : `failed with status ${status}`;
      throw new ImageError(
        `${command.join(" ")} ${what}. Did "npm run setup -- --for vm" succeed?`,
        tail(output, 40),
      );
    }
  } catch (error) {
    throw error instanceof ImageError ? error : new ImageError(`cannot run unshare: ${errorText(error)}`);
  } finally {
    clearTimeout(timer);
    process.removeListener("exit", end);
  }
}
