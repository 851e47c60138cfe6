/**
 * The host without Linux: both addons are built for the portable platform (host/native/platform/posix.cc) with
 * Linux-only headers, functions and macros taken away (hidden/, darwin.h), and the tests of the GPU, the exporters,
 * the listeners and the gather tier run once more against that build. The system calls answer as Darwin's do on Apple
 * silicon as far as that matters here (darwin.cc). A Mac's own headers and kernel are not tested.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { z } from "zod";
import { packageRoot } from "../../../common/package-root.ts";
import { temporaryFolder } from "../../support/folder.ts";
import { BUILD_HANG_MS } from "../../support/hang.ts";
import { runToEnd } from "../../support/native-program.ts";

/** Fewer mean that the configuration no longer finds the files. */
const LEAST_TESTS = 100;

const report = z.object({ numPassedTests: z.number(), numFailedTests: z.number(), success: z.boolean() });

const folder = temporaryFolder();

function run(program: string, ...args: readonly string[]): void {
  runToEnd(join(packageRoot, "node_modules", ".bin", program), ...args);
}

it("builds without Linux, and passes the tests of what touches the system", {
  timeout: BUILD_HANG_MS,
}, () => {
  run(
    "cmake-js",
    "build",
    "--out",
    join(packageRoot, "build", "portable"),
    "--CDCMAKE_BUILD_TYPE=Release",
    // Nothing is measured here, and the compiler takes half as long.
    "--CDCMAKE_CXX_FLAGS_RELEASE=-O1",
    "--CDVSOCKENC_BRIDGE=OFF",
    "--CDVSOCKENC_PLATFORM=posix",
    `--CDVSOCKENC_PLATFORM_SHIM=${import.meta.dirname}`,
  );
  const file = join(folder, "report.json");
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${file}`];
  run("vitest", "run", "--config", join(import.meta.dirname, "vitest.config.ts"), ...reporters);
  const result = report.parse(JSON.parse(readFileSync(file, "utf8")));
  expect(result).toMatchObject({ success: true, numFailedTests: 0 });
  expect(result.numPassedTests).toBeGreaterThan(LEAST_TESTS);
});
