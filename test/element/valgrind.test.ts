/** Valgrind's memcheck over the programs of test/guest: no invalid access, no leak. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../common/package-root.ts";
import { buildElement, ctestPrograms, type Environment, programPath, run } from "./support/programs.ts";
import { shareRelay } from "./support/relay.ts";

const OPTIONS = [
  "--tool=memcheck",
  "--leak-check=full",
  "--show-leak-kinds=definite",
  "--errors-for-leak-kinds=definite",
  // Deep enough for suppressions that look for the caller of a library.
  "--num-callers=40",
  "--child-silent-after-fork=yes",
  // Fair scheduling; otherwise a thread that polls starves those that it waits for.
  "--fair-sched=yes",
  `--suppressions=${join(packageRoot, "test", "element", "gstreamer.supp")}`,
  "--error-exitcode=99",
  "--quiet",
];
/** Each block is an allocation of its own, which valgrind can follow. */
const ENVIRONMENT = { G_SLICE: "always-malloc" };

buildElement("all");
const shared = shareRelay();

async function expectClean(program: string, args: readonly string[], environment: Environment = {}) {
  const command = [...OPTIONS, programPath(program), ...args];
  const { status, stdout, stderr } = await run("valgrind", command, { ...ENVIRONMENT, ...environment });
  expect(status, `${stdout}\n${stderr}`).toBe(0);
}

// As many at a time as there are cores (vitest.config.ts).
describe.concurrent("valgrind", () => {
  it.each(ctestPrograms())("finds nothing in %s", async (program) => {
    await expectClean(program, []);
  });

  it.each(["resources", "inline pixels"])("finds nothing in element-relay-test with %s", async (kind) => {
    const { relay } = shared;
    const environment =
      kind === "resources" ? relay.resources : { VSOCKENC_RELAY_SOCKET: relay.inlineSocket };
    // The cycles would count valgrind's own memory.
    await expectClean("element-relay-test", ["-x", "/relay/cycles"], environment);
  });

  it("finds nothing in run-pipeline with desktop-bridge's pipeline", async () => {
    const pipeline =
      "videotestsrc num-buffers=20 ! videoconvert ! video/x-raw,format=NV12,width=320,height=240 ! " +
      "queue max-size-buffers=1 leaky=downstream ! " +
      `vsockenc name=encoder tcp-host=127.0.0.1 tcp-port=${shared.relay.tcpPort} bitrate=10000 keyframe-interval=120 ! ` +
      "h264parse ! video/x-h264,stream-format=byte-stream ! h264parse config-interval=-1 ! " +
      "video/x-h264,stream-format=byte-stream,alignment=au ! " +
      "appsink name=videosink emit-signals=true max-buffers=2 drop=true sync=false";
    await expectClean("run-pipeline", ["--get", "encoder.source", pipeline]);
  });
});
