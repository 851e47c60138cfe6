/** What a host needs for guests that render: libvsockenc-virgl.so, and a display that gives QEMU a GL context. */
import { existsSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { nativeFolder } from "../common/load-addon.ts";

/** libvsockenc-virgl.so cannot be given to QEMU; the message has the remedy. */
export class VirglLibraryError extends Error {
  override readonly name = "VirglLibraryError";
}

/** What builds it; part of a sentence. */
export const BUILD_VIRGL_LIBRARY =
  "install the headers of libvirglrenderer and libepoxy (npm run setup), then npm run build";

/** Where `npm run build` leaves it (host/export/virgl/CMakeLists.txt). */
export function virglLibrary(): string {
  return join(nativeFolder(), "libvsockenc-virgl.so");
}

/**
 * The path for LD_PRELOAD.
 *
 * @param named by the user, perhaps a file of another machine; undefined: that of this package
 * @throws VirglLibraryError
 */
export function preloadableLibrary(named: string | undefined): string {
  const path = resolve(named ?? virglLibrary());
  if (named === undefined && !existsSync(path)) {
    throw new VirglLibraryError(`${path} is missing: ${BUILD_VIRGL_LIBRARY}; or name a copy with --library`);
  }
  if (/[\s:]/.test(path)) {
    throw new VirglLibraryError(
      `LD_PRELOAD cannot name ${path}, because spaces and colons separate its entries: copy the library to another folder, and name it with --library`,
    );
  }
  return path;
}

/**
 * The machine's render nodes, e.g. "/dev/dri/renderD128".
 *
 * @param root "/" except in tests
 */
export function renderNodes(root: string): string[] {
  const folder = join(root, "dev", "dri");
  try {
    return readdirSync(folder)
      .filter((name) => /^renderD\d+$/.test(name))
      .sort()
      .map((name) => join(folder, name));
  } catch {
    return [];
  }
}
