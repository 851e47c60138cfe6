/**
 * A host or a guest that sleeps: its processes stop, and continue at another time. Each side notices by the other's silence,
 * which is the event that these tests wait for.
 */
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { processTree } from "../support/process-tree.ts";
import { until } from "../support/until.ts";
import { NumberedStream, type Received } from "./support/numbered-stream.ts";
import { buildElement } from "./support/programs.ts";
import { shareRelay } from "./support/relay.ts";

buildElement("pattern");
const shared = shareRelay();

/** A stream through the relay that runs. */
async function start(): Promise<NumberedStream> {
  const stream = new NumberedStream(shared.relay.inlineSocket);
  onTestFinished(() => stream.kill());
  await stream.keyFrame(0);
  return stream;
}

/** The stream after its next key frame. */
async function resumed(stream: NumberedStream, keys: number): Promise<Received> {
  await stream.keyFrame(keys);
  return await stream.end(join(shared.folder, "stream.h264"));
}

describe("a lossless stream", () => {
  it("goes on with a key frame and every picture when its host wakes", async () => {
    const stream = await start();
    const processes = processTree(shared.relay.pid);
    const signal = (name: "SIGSTOP" | "SIGCONT") => {
      for (const pid of processes) process.kill(pid, name);
    };
    signal("SIGSTOP");
    await until(() => stream.log.includes("host is away"), "the element's warning").finally(() =>
      signal("SIGCONT"),
    );
    expect(await resumed(stream, 1)).toMatchObject({ lost: 0, wrong: 0, keyFrames: 2 });
  });

  it("goes on with a key frame and every picture when its guest wakes", async () => {
    const stream = await start();
    const silences = (): number => shared.relay.log.split("was silent").length;
    const before = silences();
    stream.signal("SIGSTOP");
    await until(() => silences() > before, "the end of the silent session");
    stream.signal("SIGCONT");
    expect(await resumed(stream, 1)).toMatchObject({ lost: 0, wrong: 0, keyFrames: 2 });
  });
});
