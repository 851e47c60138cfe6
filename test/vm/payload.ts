/**
 * The guest's own software (GStreamer plugin, test programs, the command vsockenc) as a small read-only disk, mounted at
 * /opt/vsockenc. It is compiled natively in the image's build tree, because emulation would take minutes. The command's
 * JavaScript is the checkout's own build, with the packages that it needs.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { packageRoot } from "../../common/package-root.ts";
import { cacheRoot, contentKey, filesKey, staleEntries, touch, withLock } from "./cache.ts";
import { ImageError } from "./errors.ts";
import { type GuestImage, removeTree, runAsRoot } from "./image.ts";

/** The inputs, with the output of `npm run generate` (gen folders). */
const SOURCES = ["CMakeLists.txt", "cmake", "guest", "proto", "test/guest", "test/vectors"];
/** The command vsockenc; the lock file stands for the packages. */
const COMMAND = ["package.json", "package-lock.json", "dist"];
const PAYLOADS_KEPT = 6;
const BUILDS_KEPT = 4;

/** The disk with the guest's software for this checkout, built if it is not cached. */
export async function ensurePayload(image: GuestImage, log: (line: string) => void): Promise<string> {
  const { buildTree } = image;
  if (buildTree === undefined) {
    throw new ImageError("This suite has no compilers for our software: use --no-payload (payload: false).");
  }
  const script = join(import.meta.dirname, "image/build-payload.sh");
  const key = contentKey([image.key, readFileSync(script), filesKey(packageRoot, [...SOURCES, ...COMMAND])]);
  const disk = join(cacheRoot(), `payload-${key}.img`);
  if (existsSync(disk)) {
    touch(disk);
    return disk;
  }
  const onWait = () => log("waiting for another process that compiles the guest's software");
  await withLock("payload", onWait, async () => {
    if (existsSync(disk)) return;
    const started = Date.now();
    log("compiling the guest's software (GStreamer plugin, test programs, the bridge's addon)");
    // One folder per checkout, kept, so that ninja compiles only changes.
    const build = join(cacheRoot(), `build-${contentKey([image.key, packageRoot])}`);
    mkdirSync(build, { recursive: true });
    touch(build);
    const result = join(build, "payload.img");
    const environment = {
      TREE: buildTree,
      CHECKOUT: packageRoot,
      BUILD: build,
      RESULT: result,
      NODE_MODULES: runtimePackages().join(" "),
    };
    await runAsRoot(["sh", script], build, environment, log);
    renameSync(result, disk);
    log(`${basename(disk)} is ready after ${((Date.now() - started) / 1000).toFixed(1)} s`);
    for (const old of staleEntries(cacheRoot(), "payload-", PAYLOADS_KEPT)) rmSync(old, { force: true });
    for (const old of staleEntries(cacheRoot(), "build-", BUILDS_KEPT)) await removeTree(old);
  });
  return disk;
}

/** Folders of the packages that the command needs at run time, below the checkout. */
function runtimePackages(): string[] {
  const lock = JSON.parse(readFileSync(join(packageRoot, "package-lock.json"), "utf8")) as {
    readonly packages: Readonly<Record<string, { readonly dev?: boolean; readonly devOptional?: boolean }>>;
  };
  return Object.entries(lock.packages)
    .filter(([path, { dev, devOptional }]) => path !== "" && dev !== true && devOptional !== true)
    .map(([path]) => path);
}
