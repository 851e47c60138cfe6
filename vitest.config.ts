import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";
import { BUILD_HANG_MS, HANG_MS, TEST_HANG_MS } from "./test/support/hang.ts";
import { SANITIZED_ADDONS, SANITIZER_RUNTIME } from "./test/unit/videotoolbox/support/sanitized.ts";

/** Test files that compile or wait for programs for half a minute or more. */
const LONG = /\/(native|portable|bridge|stop)\.test\.ts$/;

/** Long files first: one that starts last would keep only a single core busy. */
class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isLong = ({ moduleId }: TestSpecification): boolean => LONG.test(moduleId);
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))];
  }
}

/** Each takes a core for minutes, which tests of other projects would not get. */
const FUZZ = "test/unit/fuzz/**/*.test.ts";
/** By default expect.poll gives up after a second, which a busy machine needs for a single answer of a browser. */
const POLL = { expect: { poll: { timeout: HANG_MS } } };
/** Hooks may compile. */
const LIMITS = { testTimeout: TEST_HANG_MS, hookTimeout: BUILD_HANG_MS, ...POLL };

/** The VideoToolbox back end against its stand-in: built, and run, with sanitizers. */
const VIDEOTOOLBOX = [
  "test/unit/videotoolbox/{native,session,surface}.test.ts",
  "test/element/videotoolbox.test.ts",
];

/**
 * Tests that run anywhere in seconds; short runs of the fuzz targets; the VideoToolbox back end; the element in pipelines with a real relay, and under
 * valgrind; the viewer's page in a real browser; and real guests. Except for the first three, one file runs at a time: they
 * compile into one folder and use all cores, and a busy machine triggers a defect of QEMU's emulator.
 */
export default defineConfig({
  test: {
    sequence: { sequencer: LongFirst },
    projects: [
      {
        test: {
          name: "unit",
          include: [
            "test/unit/**/*.test.ts",
            "test/virgl/**/*.test.ts",
            "test/vm/**/*.test.ts",
            "test/bench/**/*.test.ts",
          ],
          exclude: ["**/*.vm.test.ts", FUZZ, ...VIDEOTOOLBOX],
          ...LIMITS,
          // By default one core is left to vitest itself, which hardly needs it.
          maxWorkers: availableParallelism(),
        },
      },
      {
        test: {
          name: "fuzz",
          include: [FUZZ],
          ...LIMITS,
          maxWorkers: availableParallelism(),
        },
      },
      {
        test: {
          name: "videotoolbox",
          include: VIDEOTOOLBOX,
          globalSetup: "test/unit/videotoolbox/support/sanitized.ts",
          setupFiles: "test/unit/videotoolbox/support/unpreload.ts",
          env: { ...SANITIZER_RUNTIME, VSOCKENC_ADDONS: SANITIZED_ADDONS },
          ...LIMITS,
          maxWorkers: availableParallelism(),
        },
      },
      {
        test: {
          name: "pipelines",
          include: ["test/element/**/*.test.ts"],
          exclude: ["test/element/valgrind.test.ts", ...VIDEOTOOLBOX],
          ...LIMITS,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: "valgrind",
          include: ["test/element/valgrind.test.ts"],
          ...LIMITS,
          fileParallelism: false,
          // Programs under valgrind take a core each.
          maxConcurrency: availableParallelism(),
        },
      },
      {
        test: {
          name: "browser",
          include: ["test/browser/**/*.test.ts"],
          globalSetup: "test/browser/support/page.ts",
          ...LIMITS,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: "vm",
          include: ["test/**/*.vm.test.ts"],
          globalSetup: "test/browser/support/page.ts",
          // A test may boot a guest, whose image may have to be built first.
          testTimeout: BUILD_HANG_MS,
          hookTimeout: BUILD_HANG_MS,
          ...POLL,
          fileParallelism: false,
        },
      },
    ],
  },
});
