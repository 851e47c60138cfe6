/** Valgrind's memcheck over the programs of test/guest: no invalid access, no leak. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../common/package-root.ts";
import { buildElement, ctestPrograms, programPath, run, skip } from "./support/programs.ts";
import { shareRelay } from "./support/relay.ts";

const SUPPRESSIONS = join(packageRoot, "test", "element", "gstreamer.supp");
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
  `--suppressions=${SUPPRESSIONS}`,
  "--error-exitcode=99",
  "--quiet",
];
/** Each block is an allocation of its own, which valgrind can follow. */
const ENVIRONMENT = { G_SLICE: "always-malloc" };

buildElement("all");
const shared = shareRelay();

async function expectClean(
  program: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<void> {
  const command = [...OPTIONS, programPath(program), ...args];
  const { status, stdout, stderr } = await run("valgrind", command, { ...ENVIRONMENT, ...environment });
  expect(status, `${stdout}\n${stderr}`).toBe(0);
}

// As many at a time as there are cores (vitest.config.ts).
describe.concurrent("valgrind", () => {
  it.each(ctestPrograms())("finds nothing in %s", async (program) => {
    await expectClean(program, []);
  });

  // The cycles would count valgrind's own memory.
  const inRelayTest = skip(["/relay/cycles"]);

  it("finds nothing in element-relay-test with resources", async () => {
    const environment = {
      VSOCKENC_RELAY_SOCKET: shared.relay.resourceSocket,
      VSOCKENC_RELAY_MEMORY: shared.relay.memorySocket,
    };
    await expectClean("element-relay-test", inRelayTest, environment);
  });

  it("finds nothing in element-relay-test with inline pixels", async () => {
    await expectClean("element-relay-test", inRelayTest, {
      VSOCKENC_RELAY_SOCKET: shared.relay.inlineSocket,
    });
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
