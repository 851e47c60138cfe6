import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Folder of the package, found from the sources and from the compiled files in dist/. */
export const packageRoot: string = (() => {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json"))) folder = dirname(folder);
  return folder;
})();

const description = JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")) as {
  version: string;
  engines: { node: string };
  vsockenc: { minimumQemu: string };
};

/** Version of the package, e.g. "0.1.0". */
export const packageVersion: string = description.version;

/** Oldest QEMU that is tested; earlier ones cannot start a vhost-user-gpu without KVM. */
export const minimumQemu: string = description.vsockenc.minimumQemu;

/** Oldest Node.js, e.g. "20.15". */
export const minimumNode: string = description.engines.node.replace(/^>=/, "");
