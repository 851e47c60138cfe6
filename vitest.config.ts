import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";
import { SANITIZED_ADDONS, SANITIZER_RUNTIME } from "./test/unit/videotoolbox/support/sanitized.ts";

/** Test files that compile, or wait for programs, for half a minute or more. */
const LONG = /\/(native|portable|bridge)\.test\.ts$/;

/** Long files first: one that begins when all others have ended would keep a single core busy. */
class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isLong = ({ moduleId }: TestSpecification): boolean => LONG.test(moduleId);
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))];
  }
}

/** The VideoToolbox back end against its stand-in: built, and run, with sanitizers. */
const VIDEOTOOLBOX = [
  "test/unit/videotoolbox/{native,session,surface}.test.ts",
  "test/element/videotoolbox.test.ts",
];

/**
 * What runs anywhere in seconds; VideoToolbox's back end; the element in pipelines with a real relay, and under valgrind;
 * the viewer's page in a real browser; and what boots a real guest. All but the first two run one file at a time: they
 * compile into one folder, and use all of the machine; QEMU's emulator has a fault that a busy machine brings out.
 */
export default defineConfig({
  test: {
    sequence: { sequencer: LongFirst },
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts", "test/vm/**/*.test.ts", "test/bench/**/*.test.ts"],
          exclude: ["**/*.vm.test.ts", ...VIDEOTOOLBOX],
          // Beside a file that compiles on all cores.
          testTimeout: 60_000,
          // A core is left to vitest itself unless told, which has next to nothing to do.
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
          testTimeout: 240_000,
          hookTimeout: 120_000,
          maxWorkers: availableParallelism(),
        },
      },
      {
        test: {
          name: "pipelines",
          include: ["test/element/**/*.test.ts"],
          exclude: ["test/element/valgrind.test.ts", ...VIDEOTOOLBOX],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: "valgrind",
          include: ["test/element/valgrind.test.ts"],
          testTimeout: 240_000,
          hookTimeout: 120_000,
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
          testTimeout: 60_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: "vm",
          include: ["test/**/*.vm.test.ts"],
          globalSetup: "test/browser/support/page.ts",
          testTimeout: 300_000,
          hookTimeout: 900_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
