/**
 * The cache outside the checkout where images are kept, keyed by the content of what they are made from.
 *
 * A thing is made in a temporary folder beside its final name, under a lock, and renamed into place: who finds the name
 * finds a whole thing. The lock is flock(2), held by a child process for as long as we hold its standard input, so
 * that even kill -9 leaves no stale lock.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, utimesSync } from "node:fs";
import { homedir } from "node:os";
import { join, relative } from "node:path";
import { ImageError } from "./errors.ts";

/** Where everything is kept; XDG_CACHE_HOME moves it. */
export function cacheRoot(): string {
  const base = process.env["XDG_CACHE_HOME"];
  const root = join(base === undefined || base === "" ? join(homedir(), ".cache") : base, "vsockenc");
  mkdirSync(root, { recursive: true });
  return root;
}

/** A short name for the content of all parts. */
export function contentKey(parts: readonly (string | Buffer)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) {
    hash.update(`${part.length}:`).update(part);
  }
  return hash.digest("hex").slice(0, 16);
}

/** The key of files and folders (all below them), by relative name and content. What does not exist counts as such. */
export function filesKey(root: string, paths: readonly string[]): string {
  const parts: (string | Buffer)[] = [];
  for (const path of paths) {
    const full = join(root, path);
    if (!existsSync(full)) {
      parts.push(`${path} does not exist`);
      continue;
    }
    for (const file of filesBelow(full)) {
      parts.push(relative(root, file), readFileSync(file));
    }
  }
  return contentKey(parts);
}

function filesBelow(path: string): string[] {
  if (!statSync(path).isDirectory()) {
    return [path];
  }
  return readdirSync(path)
    .sort()
    .filter((name) => name !== "node_modules")
    .flatMap((name) => filesBelow(join(path, name)));
}

/** Marks a cached thing as used now, for pruneCache. */
export function touch(path: string): void {
  const now = new Date();
  utimesSync(path, now, now);
}

/** The names of cached things of one kind beyond the `keep` most recently used, oldest last. */
export function staleEntries(root: string, prefix: string, keep: number): string[] {
  return readdirSync(root)
    .filter((name) => name.startsWith(prefix))
    .map((name) => ({ path: join(root, name), used: statSync(join(root, name)).mtimeMs }))
    .sort((a, b) => b.used - a.used)
    .slice(keep)
    .map((entry) => entry.path);
}

/** Runs `work` while no other process on this machine holds the lock of that name. */
export async function withLock<T>(
  name: string,
  waiting: () => void,
  work: () => Promise<T>,
  timeoutMs = 30 * 60_000,
): Promise<T> {
  const file = join(cacheRoot(), `${name}.lock`);
  const seconds = String(Math.ceil(timeoutMs / 1000));
  const holder = spawn("flock", ["--wait", seconds, file, "sh", "-c", "echo locked; exec cat >/dev/null"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const tellWaiting = setTimeout(waiting, 500);
  try {
    const locked = await Promise.race([
      once(holder.stdout, "data").then(() => true),
      once(holder, "exit").then(() => false),
    ]);
    if (!locked) {
      throw new ImageError(`Another process has held ${file} for ${seconds} s. End it, or wait for it.`);
    }
    clearTimeout(tellWaiting);
    return await work();
  } finally {
    clearTimeout(tellWaiting);
    holder.stdin.end();
  }
}
