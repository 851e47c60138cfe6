import { defineConfig } from "vitest/config";

/** Two projects: what runs anywhere in seconds, and what boots a real guest and so runs one at a time. */
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
