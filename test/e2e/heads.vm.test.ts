/**
 * A head of a real guest without any software of ours, in a viewer of the relay: what the Linux console draws into its
 * framebuffer, compared with what comes out of the decoder.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseConfiguration } from "../../host/config.ts";
import { ExportClient } from "../../host/relay/export-client.ts";
import { Relay } from "../../host/relay/relay.ts";
import { vsockenc } from "../../proto/protobuf.ts";
import { until } from "../support/until.ts";
import type { TestPicture } from "../unit/host-viewer/support/bench.ts";
import { difference, newestPicture } from "../unit/host-viewer/support/decoded.ts";
import { TestViewer } from "../unit/viewer/support/test-viewer.ts";
import { Vm } from "../vm/vm.ts";

const SIZE = { width: 1280, height: 800 };
const HEAD = "vm/head0";
const WAIT_MS = 60_000;
const { StateCode } = vsockenc.viewer;

describe("the console of a guest without our software", () => {
  const folder = mkdtempSync(join(tmpdir(), "vsockenc-heads-"));
  let vm: Vm;
  let relay: Relay;
  let viewer: TestViewer;
  let exporter: ExportClient;
  let shown = 0;

  beforeAll(async () => {
    vm = await Vm.boot({ gpu: "vsockenc", relay: false, payload: false, mode: "1280x800" });
    writeFileSync(join(folder, "index.html"), "<!doctype html><title>page</title>");
    const text = `
      status.enabled = false
      viewer = { enabled = true, port = 0 }
      [[vm]]
      name = "vm"
      ports = ["${vm.portSocket}"]
      export = "${vm.exportSocket}"
      view = { heads = true }`;
    relay = await Relay.start(parseConfiguration(text, "test"), pino({ level: "warn" }), folder);
    exporter = await ExportClient.connect(vm.exportSocket, {
      onScanout: (_head, resource) => {
        shown = resource;
      },
      onDamage: () => undefined,
      onRevoke: (resource, generation) => exporter.release(resource, generation),
      onClose: () => undefined,
    });
    viewer = await TestViewer.connect(relay.viewerAddress ?? "");
    viewer.watch(HEAD);
  });

  afterAll(async () => {
    viewer?.socket.terminate();
    exporter?.close();
    relay?.stop();
    await vm?.shutdown();
    rmSync(folder, { recursive: true });
  });

  /** The bytes of what the head shows at this moment. */
  async function scanout(): Promise<TestPicture> {
    const { resource, generation, width, height, extents, memories } = await exporter.acquire(shown);
    const runs = extents.map(({ memory, offset, length }) => {
      const bytes = Buffer.alloc(length);
      readSync(memories.get(memory)?.descriptor ?? -1, bytes, 0, length, offset);
      return bytes;
    });
    exporter.release(resource, generation);
    return { width, height, pixels: Buffer.concat(runs).subarray(0, width * height * 4) };
  }

  /** Fills the console with text and hides its blinking cursor. */
  async function write(word: string): Promise<void> {
    const line = `${word} of a guest that has no software for it, `.repeat(2);
    const script = `(printf '\\033[2J\\033[H\\033[?25l'; for i in $(seq 48); do printf '%02d %s\\n' $i '${line}'; done) >/dev/tty1`;
    expect(await vm.run(script)).toMatchObject({ status: 0 });
  }

  /** Settles when the viewer sees what the guest's pages hold, which is far from black. */
  async function seesConsole(): Promise<TestPicture> {
    let seen: TestPicture | undefined;
    await until(
      async () => {
        const truth = await scanout();
        const black = { ...truth, pixels: Buffer.alloc(truth.pixels.length) };
        seen = newestPicture(viewer);
        const text = difference(black, truth);
        return text > 10 && difference(seen, truth) < text / 10;
      },
      "the console's picture",
      WAIT_MS,
    );
    if (seen === undefined) throw new Error("unreachable");
    return seen;
  }

  it("is shown in its first picture and after every change", async () => {
    await viewer.untilUnits(1);
    expect(viewer.all("configuration")).toMatchObject([SIZE]);
    for (const word of ["Console", "Screen"]) {
      await write(word);
      savePicture(await seesConsole());
    }
  });

  it("comes back by itself when the guest restarts", async () => {
    const before = viewer.messages.length;
    await vm.reset();
    const since = viewer.messages.slice(before);
    expect(since).toContainEqual(
      expect.objectContaining({ type: "state", body: expect.objectContaining({ code: StateCode.AWAY }) }),
    );
    await write("Restarted console");
    savePicture(await seesConsole());
  });
});

/** For people who want to look: VSOCKENC_HEADS_PNG names a file. */
function savePicture({ width, height, pixels }: TestPicture): void {
  const file = process.env["VSOCKENC_HEADS_PNG"];
  if (file === undefined) return;
  const raw = ["-f", "rawvideo", "-pix_fmt", "bgr0", "-s", `${width}x${height}`, "-i", "-"];
  const { status, stderr } = spawnSync("ffmpeg", ["-y", "-loglevel", "error", ...raw, file], {
    input: pixels,
  });
  if (status !== 0) throw new Error(`ffmpeg: ${stderr}`);
}
