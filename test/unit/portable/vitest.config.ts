/** What portable.test.ts runs against the build for the portable platform; see there. */
import { join } from "node:path";
import { defineConfig } from "vitest/config";
import { TEST_HANG_MS } from "../../support/hang.ts";

const root = join(import.meta.dirname, "..", "..", "..");

export default defineConfig({
  root,
  test: {
    include: [
      "test/unit/gpu/**/*.test.ts",
      "test/unit/export/**/*.test.ts",
      "test/unit/relay/{listeners,inline}.test.ts",
      "test/unit/encoders/gather.test.ts",
      "test/unit/portable/**/*.posix.ts",
    ],
    // Builds for itself, for this machine's own platform.
    exclude: ["test/unit/gpu/native.test.ts"],
    testTimeout: TEST_HANG_MS,
    env: { VSOCKENC_ADDONS: join(root, "build", "portable", "Release") },
  },
});
