import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";
import { BUILD_HANG_MS } from "../../support/hang.ts";
import { compile } from "../../support/native-program.ts";

function run(program: string, environment: NodeJS.ProcessEnv): string {
  const { status, stdout, stderr, error } = spawnSync(program, {
    encoding: "utf8",
    timeout: BUILD_HANG_MS,
    killSignal: "SIGKILL",
    env: { ...process.env, ...environment },
  });
  expect(status, `${program}\n${stdout}${stderr}${error?.message ?? ""}`).toBe(0);
  return stdout;
}

it(
  "sanitizers find nothing in pipelines that are read, cut off and refused",
  () => {
    const build = compile(join(import.meta.dirname, "native"), "pipeline-stress");
    const suppressions = join(packageRoot, "test", "guest", "lsan.supp");
    const sanitizers = {
      // Else what GStreamer leaks lies in GLib's own heap, where nothing looks lost.
      G_SLICE: "always-malloc",
      ASAN_OPTIONS: "fast_unwind_on_malloc=0",
      LSAN_OPTIONS: `suppressions=${suppressions}:print_suppressions=0`,
    };
    expect(run(join(build, "pipeline-stress"), sanitizers)).toBe("done\n");
  },
  BUILD_HANG_MS,
);
