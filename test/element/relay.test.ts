/** test/guest/element-relay-test: the element in GstHarness, with a real relay. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { inspectStream } from "../support/ffmpeg.ts";
import { until } from "../support/until.ts";
import { buildElement, expectPattern, listTests, passRelayTest } from "./support/programs.ts";
import { shareRelay } from "./support/relay.ts";

const PROGRAM = "element-relay-test";
/** Of the program's pictures. */
const SIZE = { width: 640, height: 480 };
const FRAMES = 10;
buildElement(PROGRAM, "pattern");
const tests = listTests(PROGRAM);
const cycles = tests.filter((name) => name.includes("/cycles/"));

const shared = shareRelay();

describe.each(["resources", "inline pixels"] as const)("the element with %s", (kind) => {
  const environment = () => ({
    VSOCKENC_TEST_OUTPUT: shared.folder,
    VSOCKENC_RELAY_SOCKET: shared.relay.inlineSocket,
    ...(kind === "resources" ? shared.relay.resources : {}),
  });

  it.each(tests.filter((name) => !cycles.includes(name)))("%s", async (name) => {
    await passRelayTest(name, environment());
  });

  const files = ["encode.h264", "encode.h265", "system-memory.h264"];
  if (kind === "resources") files.push("dmabuf.h264");
  it.each(files)("has %s show what was drawn", async (name) => {
    const file = join(shared.folder, name);
    await expectPattern(file, FRAMES, SIZE);
    rmSync(file);
  });

  it("has the stream whose format changes decode to its end", () => {
    const file = join(shared.folder, "format-change.h264");
    expect(inspectStream(file)).toEqual({ frames: 2 * FRAMES, keyFrames: 2 });
    rmSync(file);
  });

  // The first few cycles open what the relay opens once, such as the connection to its exporter.
  it.each(cycles)("%s, without a descriptor leaked in the relay", async (name) => {
    await passRelayTest(name, { ...environment(), VSOCKENC_TEST_CYCLES: "0" });
    await shared.relay.idle();
    const before = shared.relay.descriptors;
    await passRelayTest(name, environment());
    // Requests for the status page may still be open, too; what has leaked stays.
    await until(() => shared.relay.descriptors <= before, "no more descriptors than before");
  });
});
