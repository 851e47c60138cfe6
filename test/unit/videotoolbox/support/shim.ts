/**
 * The native addons with VideoToolbox's shim inside, and its control by tests and benchmarks.
 *
 * The folder is that of VSOCKENC_ADDONS (the tests': sanitized.ts), or a build without sanitizers, which importing this
 * makes (`npm run build:shim`). It is chosen for the process, before media.node is loaded for the first time; a test
 * file has a process of its own.
 */
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { packageRoot } from "../../../../common/package-root.ts";
import { buildAlone } from "../../../support/native-program.ts";

const BUILD = join(packageRoot, "build", "addon-shim");
const CHOSEN = process.env["VSOCKENC_ADDONS"];
const ADDONS = resolve(CHOSEN ?? join(BUILD, "Release"));

/** test/unit/videotoolbox/addon/addon.cc */
export interface VideoToolboxShim {
  /**
   * Returns the id of a surface that lives until releaseSurface.
   * @param options `format` has four characters, e.g. "BGRA"
   */
  createSurface(options: { width: number; height: number; format: string; global: boolean }): number;
  /** @param pixels rows without padding */
  drawSurface(id: number, pixels: Uint8Array): void;
  bytesPerRow(id: number): number;
  useCount(id: number): number;
  releaseSurface(id: number): void;
  /** Rules of test/videotoolbox-shim/README.md; frames are counted from 1 again. */
  setScript(rules: string): void;
  /** Under the names of vt_shim_counters in test/videotoolbox-shim/include/vt_shim.h. */
  counters(): Readonly<Record<string, number>>;
  /** Objects of CoreFoundation that are alive. */
  liveObjects(): number;
}

if (CHOSEN === undefined) buildAlone(BUILD, "npm", "run", "build:shim");
process.env["VSOCKENC_ADDONS"] = ADDONS;
export const shim = createRequire(import.meta.url)(join(ADDONS, "shim.node")) as VideoToolboxShim;
