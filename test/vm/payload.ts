/**
 * The guest's own software (GStreamer plugin, test programs, the command vsockenc) as a small read-only disk, mounted at
 * /opt/vsockenc. What is compiled is compiled natively in the image's build tree, never in the guest: emulation would
 * take minutes. The command's JavaScript is the checkout's own build, with the packages that it needs.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheRoot, contentKey, filesKey, staleEntries, touch, withLock } from "./cache.ts";
import { ImageError } from "./errors.ts";
import { type GuestImage, removeTree, runAsRoot } from "./image.ts";

const HERE = dirname(fileURLToPath(import.meta.url));

/** What determines the payload. The gen folders in them are what `npm run generate` makes. */
const SOURCES = ["CMakeLists.txt", "cmake", "guest", "proto", "test/guest", "test/vectors"];
/** What the command vsockenc consists of besides; the lock file stands for the packages. */
const COMMAND = ["package.json", "package-lock.json", "dist"];
const PAYLOADS_KEPT = 6;
const BUILDS_KEPT = 4;
const BUILD_TIMEOUT_MS = 10 * 60_000;

/** The disk with the guest's software for the sources in `checkout`, made now if there is none. */
export async function ensurePayload(
  image: GuestImage,
  checkout: string,
  log: (line: string) => void,
): Promise<string> {
  if (!existsSync(join(checkout, "CMakeLists.txt"))) {
    throw new ImageError(`${checkout} has no CMakeLists.txt: not a checkout of vsockenc.`);
  }
  const { buildTree } = image;
  if (buildTree === undefined) {
    throw new ImageError("This suite has no compilers for our software: use --no-payload (payload: false).");
  }
  const key = contentKey([
    image.key,
    filesKey(HERE, ["image/build-payload.sh"]),
    filesKey(checkout, [...SOURCES, ...COMMAND]),
  ]);
  const disk = join(cacheRoot(), `payload-${key}.img`);
  if (existsSync(disk)) {
    touch(disk);
    return disk;
  }
  const waiting = () => log("waiting for another process which compiles the guest's software");
  await withLock("payload", waiting, async () => {
    if (existsSync(disk)) {
      return;
    }
    const started = Date.now();
    log("compiling the guest's software (GStreamer plugin, test programs, the bridge's addon)");
    // One folder per checkout, kept: ninja then compiles only what changed.
    const build = join(cacheRoot(), `build-${contentKey([image.key, checkout])}`);
    mkdirSync(build, { recursive: true });
    touch(build);
    const result = join(build, "payload.img");
    const environment = {
      TREE: buildTree,
      CHECKOUT: checkout,
      BUILD: build,
      RESULT: result,
      NODE_MODULES: runtimePackages(checkout).join(" "),
    };
    await runAsRoot(join(HERE, "image", "build-payload.sh"), build, environment, BUILD_TIMEOUT_MS, log);
    renameSync(result, disk);
    log(`${basename(disk)} is ready after ${((Date.now() - started) / 1000).toFixed(1)} s`);
    for (const old of staleEntries(cacheRoot(), "payload-", PAYLOADS_KEPT).filter((name) =>
      name.endsWith(".img"),
    )) {
      rmSync(old, { force: true });
    }
    for (const old of staleEntries(cacheRoot(), "build-", BUILDS_KEPT)) {
      await removeTree(old);
    }
  });
  return disk;
}

/** Folders of the packages that our own needs at run time, below the checkout. */
function runtimePackages(checkout: string): string[] {
  const lock = JSON.parse(readFileSync(join(checkout, "package-lock.json"), "utf8")) as {
    readonly packages: Readonly<Record<string, { readonly dev?: boolean; readonly devOptional?: boolean }>>;
  };
  return Object.entries(lock.packages)
    .filter(([path, { dev, devOptional }]) => path !== "" && dev !== true && devOptional !== true)
    .map(([path]) => path);
}
