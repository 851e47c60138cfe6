/** ARCHITECTURE.md's picture of the folders: imports point down only, and in no circle. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { expect, it } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";

/** Each folder, with those that it may import. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  common: [],
  proto: ["common"],
  viewer: ["proto", "common"],
  guest: ["viewer", "proto", "common"],
  host: ["viewer", "proto", "common"],
  cli: ["guest", "host", "viewer", "proto", "common"],
};

/** "host/relay" for a file in that folder, "host" for one at its top; the other folders have no rooms in this sense. */
function room(path: string): string {
  const [top = "", ...rest] = path.split("/");
  return top === "host" && rest.length > 1 ? `${top}/${rest[0]}` : top;
}

/** All imports between rooms, as [importing file, imported room]. */
function arrows(): [file: string, from: string, to: string][] {
  const files = Object.keys(MAY_IMPORT).flatMap((top) =>
    readdirSync(join(packageRoot, top), { recursive: true, encoding: "utf8" }).map((name) => join(top, name)),
  );
  return files
    .filter((file) => file.endsWith(".ts") && !file.split("/").includes("gen"))
    .flatMap((file) => {
      const text = readFileSync(join(packageRoot, file), "utf8");
      const imported = [...text.matchAll(/(?:from|import) *\(?"(\.[^"]+)"/g)].map(([, path = ""]) =>
        relative(packageRoot, join(packageRoot, dirname(file), path)),
      );
      return imported.map((path): [string, string, string] => [file, room(file), room(path)]);
    })
    .filter(([, from, to]) => from !== to);
}

it("imports point down only", () => {
  const top = (name: string): string => name.split("/")[0] ?? "";
  const wrong = arrows().filter(
    ([, from, to]) => top(from) !== top(to) && !MAY_IMPORT[top(from)]?.includes(top(to)),
  );
  expect(wrong).toEqual([]);
});

/** Packages that a file loads, and what it imports in turn. */
function packagesOf(file: string, seen = new Set<string>()): Set<string> {
  const packages = new Set<string>();
  const text = readFileSync(join(packageRoot, file), "utf8");
  seen.add(file);
  for (const [, path = ""] of text.matchAll(
    /(?:^(?:import|export) (?!type )[^;]*?from |^import |import\()"([^"]+)"/gm,
  )) {
    const imported = relative(packageRoot, join(packageRoot, dirname(file), path));
    if (!path.startsWith(".")) packages.add(path);
    else if (imported.endsWith(".ts") && !seen.has(imported)) {
      for (const name of packagesOf(imported, seen)) packages.add(name);
    }
  }
  return packages;
}

it.each(["cli/worker-main.ts", "cli/gpu-main.ts"])("%s, a process for each VM, is small", (file) => {
  const packages = packagesOf(file);
  expect(packages).toContain("pino");
  for (const large of ["zod", "smol-toml", "ws"]) expect(packages).not.toContain(large);
});

it("the folders of the host import each other in no circle", () => {
  const edges = arrows();
  const reachable = (from: string, seen = new Set<string>()): Set<string> => {
    for (const [, source, to] of edges) {
      if (source !== from || seen.has(to)) continue;
      seen.add(to);
      reachable(to, seen);
    }
    return seen;
  };
  const rooms = new Set(edges.map(([, from]) => from));
  expect([...rooms].filter((name) => reachable(name).has(name))).toEqual([]);
});

it("the element's C files see each other through headers alone", () => {
  const folder = join(packageRoot, "guest", "element");
  const sources = readdirSync(folder).filter((name) => /\.[ch]$/.test(name));
  const wrong = sources.flatMap((name) => {
    const text = readFileSync(join(folder, name), "utf8");
    const included = [...text.matchAll(/#include "([^"]+)"/g)].map(([, path = ""]) => path);
    const external = /^extern /m.test(text) && name.endsWith(".c") ? ["extern"] : [];
    return [...included.filter((path) => !path.endsWith(".h")), ...external].map((path) => [name, path]);
  });
  expect(wrong).toEqual([]);
});
