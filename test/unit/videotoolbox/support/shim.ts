/**
 * The native addons with VideoToolbox's shim inside (`npm run build:shim`), and what a test can do to it.
 *
 * Importing this chooses them for the process, before media.node is loaded for the first time; a test file has a
 * process of its own.
 *
 * They can have sanitizers, which the process has to have from its start:
 *
 *     npx cmake-js build --out build/addon-asan --CDVSOCKENC_VIDEOTOOLBOX=shim --CDVSOCKENC_SANITIZE=address,undefined
 *     LD_PRELOAD=$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libubsan.so) ASAN_OPTIONS=detect_leaks=0 \
 *       VSOCKENC_ADDONS=build/addon-asan/Release node node_modules/vitest/vitest.mjs run test/unit/videotoolbox/s
 */
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { packageRoot } from "../../../../host/package-root.ts";

const BUILD = join(packageRoot, "build", "addon-shim");
const CHOSEN = process.env["VSOCKENC_ADDONS"];
/** What VSOCKENC_ADDONS names; where it is set already it names another build of them, e.g. with a sanitizer. */
export const SHIM_ADDONS = resolve(CHOSEN ?? join(BUILD, "Release"));

/** Names are those of vt_shim_counters in test/videotoolbox-shim/include/vt_shim.h. */
export interface ShimCounters {
  readonly sessionsCreated: number;
  readonly sessionsRefused: number;
  readonly framesSubmitted: number;
  readonly framesDropped: number;
  readonly framesFailed: number;
  readonly untaggedFrames: number;
  readonly convertedFrames: number;
  readonly transfers: number;
  readonly encodingNs: number;
}

export interface SurfaceOptions {
  readonly width: number;
  readonly height: number;
  /** Four characters, e.g. "BGRA". */
  readonly format: string;
  readonly global: boolean;
}

/** test/unit/videotoolbox/addon/addon.cc */
export interface VideoToolboxShim {
  /** Gives the surface's number; the test holds it until it is released. */
  createSurface(options: SurfaceOptions): number;
  /** @param pixels rows without padding */
  drawSurface(id: number, pixels: Uint8Array): void;
  bytesPerRow(id: number): number;
  useCount(id: number): number;
  releaseSurface(id: number): void;
  /** Rules of test/videotoolbox-shim/README.md; frames are counted from 1 again. */
  setScript(rules: string): void;
  counters(): ShimCounters;
  resetCounters(): void;
  /** Objects of CoreFoundation that are alive. */
  liveObjects(): number;
}

/** Test files run side by side, and Ninja does not lock its folder. */
function build(): void {
  mkdirSync(BUILD, { recursive: true });
  const command = [join(BUILD, ".lock"), "npm", "run", "build:shim"];
  const { status, stdout, stderr } = spawnSync("flock", command, { cwd: packageRoot, encoding: "utf8" });
  if (status !== 0) throw new Error(`npm run build:shim failed:\n${stdout}\n${stderr}`);
}

if (CHOSEN === undefined) build();
process.env["VSOCKENC_ADDONS"] = SHIM_ADDONS;
export const shim = createRequire(import.meta.url)(join(SHIM_ADDONS, "shim.node")) as VideoToolboxShim;
