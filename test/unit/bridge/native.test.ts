import { join } from "node:path";
import { expect, it } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";
import { BUILD_HANG_MS } from "../../support/hang.ts";
import { compile, runToEnd } from "../../support/native-program.ts";

it("sanitizers find nothing in pipelines that are read, cut off and rejected", {
  timeout: BUILD_HANG_MS,
}, () => {
  const build = compile(join(import.meta.dirname, "native"), "pipeline-stress");
  const suppressions = join(packageRoot, "test", "guest", "lsan.supp");
  const output = runToEnd(
    "env",
    // Otherwise GStreamer's leaks are in GLib's own heap, where LeakSanitizer does not see them.
    "G_SLICE=always-malloc",
    "ASAN_OPTIONS=fast_unwind_on_malloc=0",
    `LSAN_OPTIONS=suppressions=${suppressions}:print_suppressions=0`,
    join(build, "pipeline-stress"),
  );
  expect(output).toContain("done\n");
});
