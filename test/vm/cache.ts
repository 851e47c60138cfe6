/**
 * The cache of images outside the checkout, keyed by the content of their inputs.
 *
 * An entry is built in a temporary folder beside its final name, under a lock, and renamed into place, so an entry that
 * exists is complete. The lock is flock(2), held by a child process while its standard input is open, so even kill -9
 * leaves no stale lock.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, utimesSync } from "node:fs";
import { homedir } from "node:os";
import { join, relative } from "node:path";
import { BUILD_HANG_MS } from "../support/hang.ts";
import { ImageError } from "./errors.ts";

/** The cache's folder; XDG_CACHE_HOME moves it. */
export function cacheRoot(): string {
  const root = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "vsockenc");
  mkdirSync(root, { recursive: true });
  return root;
}

/** A short key of the content of all parts. */
export function contentKey(parts: readonly (string | Buffer)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return hash.digest("hex").slice(0, 16);
}

/** The key of files and folders (all below them), by relative name and content; missing ones are skipped. */
export function filesKey(root: string, paths: readonly string[]): string {
  const files = paths.map((path) => join(root, path)).flatMap(filesBelow);
  return contentKey(files.flatMap((file) => [relative(root, file), readFileSync(file)]));
}

function filesBelow(path: string): string[] {
  if (!existsSync(path)) return [];
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path)
    .sort()
    .filter((name) => name !== "node_modules")
    .flatMap((name) => filesBelow(join(path, name)));
}

/** Marks an entry as used now, for staleEntries. */
export function touch(path: string): void {
  const now = new Date();
  utimesSync(path, now, now);
}

/** The paths of entries of one kind beyond the `keep` most recently used. */
export function staleEntries(root: string, prefix: string, keep: number): string[] {
  return readdirSync(root)
    .filter((name) => name.startsWith(prefix))
    .map((name) => ({ path: join(root, name), used: statSync(join(root, name)).mtimeMs }))
    .sort((a, b) => b.used - a.used)
    .slice(keep)
    .map((entry) => entry.path);
}

/**
 * Runs `work` while no other process on this machine holds the lock of that name.
 *
 * @param onWait called when another process holds it
 */
export async function withLock<T>(name: string, onWait: () => void, work: () => Promise<T>): Promise<T> {
  const file = join(cacheRoot(), `${name}.lock`);
  const seconds = String(BUILD_HANG_MS / 1000);
  const holder = spawn("flock", ["--wait", seconds, file, "sh", "-c", "echo locked; exec cat >/dev/null"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const waiting = setTimeout(onWait, 500);
  try {
    const locked = await Promise.race([
      once(holder.stdout, "data").then(() => true),
      once(holder, "exit").then(() => false),
    ]);
    clearTimeout(waiting);
    if (locked) return await work();
    throw new ImageError(`Another process has held ${file} for ${seconds} s. End it, or wait for it.`);
  } finally {
    clearTimeout(waiting);
    holder.stdin.end();
  }
}
