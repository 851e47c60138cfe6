import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { BUILD_HANG_MS } from "../../support/hang.ts";
import { compile, runToEnd } from "../../support/native-program.ts";

/** media-stress under a sanitizer: what it printed. */
function stress(sanitize: string, ...parts: readonly string[]): string {
  const name = `media-stress-${sanitize.replace(",", "-")}`;
  const build = compile(join(import.meta.dirname, "native"), name, `SANITIZE=${sanitize}`);
  return runToEnd(join(build, "media-stress"), ...parts);
}

describe("the native core under sanitizers", () => {
  it(
    "AddressSanitizer and UndefinedBehaviorSanitizer find nothing in hostile layouts and cut-off sessions",
    () => {
      const output = stress("address,undefined");
      expect(Number(/guarded conversions: (\d+)/.exec(output)?.[1])).toBeGreaterThan(100);
      expect(output).toMatch(/^sessions: \d+$/m);
    },
    BUILD_HANG_MS,
  );

  // All the rest is done by one thread.
  it(
    "ThreadSanitizer finds nothing in cut-off sessions",
    () => {
      expect(stress("thread", "sessions")).toMatch(/^sessions: \d+$/m);
    },
    BUILD_HANG_MS,
  );
});
