/**
 * The VideoToolbox back end against its stand-in, under sanitizers: two build trees of host/native, and the environment of
 * a process that loads an addon of the first one.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { packageRoot } from "../../../../common/package-root.ts";
import { buildAlone } from "../../../support/native-program.ts";

/** Addons and the native test, of the same objects. */
const ADDRESS_BUILD = join(packageRoot, "build", "videotoolbox-asan");
/** Only the native test: an addon would need a Node.js that is built with the thread sanitizer. */
const THREAD_BUILD = join(packageRoot, "build", "videotoolbox-tsan");

/** The native test of each sanitizer. */
export const NATIVE_TESTS = {
  address: join(ADDRESS_BUILD, "videotoolbox-test", "videotoolbox-test"),
  thread: join(THREAD_BUILD, "videotoolbox-test", "videotoolbox-test"),
} as const;
/** For VSOCKENC_ADDONS. */
export const SANITIZED_ADDONS = join(ADDRESS_BUILD, "Release");

function library(name: string): string {
  return spawnSync("g++", [`-print-file-name=${name}`], { encoding: "utf8" }).stdout?.trim() ?? name;
}

/**
 * Environment of a process that loads SANITIZED_ADDONS. It preloads the sanitizers' libraries, which Node.js is not linked
 * with. The stand-in reports leaks itself, as Node.js frees little at its end.
 */
export const SANITIZER_RUNTIME: Readonly<Record<string, string>> = {
  LD_PRELOAD: ["libasan.so", "libubsan.so"].map(library).join(":"),
  ASAN_OPTIONS: "detect_leaks=0:abort_on_error=1",
  UBSAN_OPTIONS: "print_stacktrace=1",
};

function build(folder: string, target: string, sanitizers: string): void {
  const settings = {
    VSOCKENC_VIDEOTOOLBOX: "shim",
    VSOCKENC_SANITIZE: sanitizers,
    VSOCKENC_BRIDGE: "OFF",
    CMAKE_BUILD_TYPE: "Debug",
    // Names and lines for a report; more only takes longer to compile.
    CMAKE_CXX_FLAGS_DEBUG: "-O1 -g1",
  };
  const options = Object.entries(settings).map(([name, value]) => `--CD${name}=${value}`);
  buildAlone(folder, "npx", "cmake-js", "build", "--out", folder, "--target", target, ...options);
}

/** Vitest's globalSetup of the project "videotoolbox". */
export function setup(): void {
  build(ADDRESS_BUILD, "videotoolbox-tests", "address,undefined");
  build(THREAD_BUILD, "videotoolbox-test", "thread");
}
