import { defineConfig } from "vitest/config";

/**
 * What runs anywhere in seconds; the element in pipelines with a real relay, and under valgrind; the viewer's page in
 * a real browser; and what boots a real guest. All but the first run one file at a time: they compile into one folder,
 * and use all of the machine.
 */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts", "test/vm/**/*.test.ts", "test/bench/**/*.test.ts"],
          exclude: ["**/*.vm.test.ts"],
          testTimeout: 30_000,
        },
      },
      {
        test: {
          name: "pipelines",
          include: ["test/element/**/*.test.ts"],
          exclude: ["test/element/valgrind.test.ts"],
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
        },
      },
      {
        test: {
          name: "browser",
          include: ["test/browser/**/*.test.ts"],
          testTimeout: 60_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: "vm",
          include: ["test/**/*.vm.test.ts"],
          testTimeout: 300_000,
          hookTimeout: 900_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
