/**
 * A head of a real guest without any software of ours, in a viewer of the relay: what the Linux console and UEFI firmware
 * draw, compared with what comes out of the decoder. The pictures are kept in out/heads.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../common/package-root.ts";
import { parseConfiguration } from "../../host/config.ts";
import { ExportClient } from "../../host/export/client.ts";
import { viewerOf } from "../../host/heads/browser-viewer.ts";
import { Relay } from "../../host/relay/relay.ts";
import { vsockenc } from "../../proto/protobuf.ts";
import { until } from "../support/until.ts";
import type { TestPicture } from "../unit/heads/support/bench.ts";
import { difference, newestPicture } from "../unit/heads/support/decoded.ts";
import { TestViewer } from "../unit/viewer/support/test-viewer.ts";
import { QEMU } from "../vm/accelerator.ts";
import { SupervisedProcess } from "../vm/child.ts";
import { startGpu } from "../vm/host-processes.ts";
import { Vm } from "../vm/vm.ts";

const SIZE = { width: 1280, height: 800 };
const MODE = "1280x800";
const HEAD = "vm/head0";
const { StateCode } = vsockenc.viewer;

interface Sockets {
  readonly portSocket: string;
  readonly exportSocket: string;
}

/** A head in a viewer of a relay, and beside them the guest's own memory, as its exporter shows it to this test. */
class WatchedHead {
  readonly viewer: TestViewer;
  readonly #relay: Relay;
  readonly #exporter: ExportClient;
  readonly #shown: () => number;

  private constructor(relay: Relay, viewer: TestViewer, exporter: ExportClient, shown: () => number) {
    this.#relay = relay;
    this.viewer = viewer;
    this.#exporter = exporter;
    this.#shown = shown;
  }

  static async start({ portSocket, exportSocket }: Sockets, folder: string): Promise<WatchedHead> {
    writeFileSync(join(folder, "index.html"), "<!doctype html><title>page</title>");
    const text = `
      status.enabled = false
      viewer = { enabled = true, port = 0 }
      [[vm]]
      name = "vm"
      ports = ["${portSocket}"]
      export = "${exportSocket}"
      view = { heads = true }`;
    const configuration = parseConfiguration(text, "test");
    const relay = await Relay.start(configuration, pino({ level: "warn" }), viewerOf(configuration, folder));
    let shown = 0;
    const exporter = await ExportClient.connect(exportSocket, {
      onScanout: (_head, resource) => {
        shown = resource;
      },
      onDamage: () => undefined,
      onRevoke: (resource, generation) => exporter.release(resource, generation),
      onClose: () => undefined,
    });
    const viewer = await TestViewer.connect(relay.viewerAddress ?? "");
    viewer.watch(HEAD);
    return new WatchedHead(relay, viewer, exporter, () => shown);
  }

  stop(): void {
    this.viewer.socket.terminate();
    this.#exporter.close();
    this.#relay.stop();
  }

  /** The bytes of what the head shows at this moment. */
  async scanout(): Promise<TestPicture> {
    const { resource, generation, width, height, extents, memories } = await this.#exporter.acquire(
      this.#shown(),
    );
    const runs = extents.map(({ memory, offset, length }) => {
      const bytes = Buffer.alloc(length);
      readSync(memories.get(memory)?.descriptor ?? -1, bytes, 0, length, offset);
      return bytes;
    });
    this.#exporter.release(resource, generation);
    return { width, height, pixels: Buffer.concat(runs).subarray(0, width * height * 4) };
  }

  /**
   * Settles when the viewer sees what the guest's pages hold.
   *
   * @param drawn mean of a colour byte that there must be on the guest's screen: nothing is easily shown
   */
  async untilSeen(what: string, drawn: number): Promise<void> {
    let seen: TestPicture | undefined;
    await until(async () => {
      const truth = await this.scanout();
      const black = { ...truth, pixels: Buffer.alloc(truth.pixels.length) };
      seen = newestPicture(this.viewer);
      const text = difference(black, truth);
      return text > drawn && difference(seen, truth) < text / 10;
    }, `the picture of ${what}`);
    if (seen !== undefined) savePicture(what, seen);
  }
}

describe("the console of a guest without our software", () => {
  const folder = mkdtempSync(join(tmpdir(), "vsockenc-heads-"));
  let vm: Vm;
  let head: WatchedHead;

  beforeAll(async () => {
    vm = await Vm.boot({ gpu: "vsockenc", relay: false, payload: false, mode: MODE });
    head = await WatchedHead.start(vm, folder);
  });

  afterAll(async () => {
    head?.stop();
    await vm?.shutdown();
    rmSync(folder, { recursive: true });
  });

  /** Fills the console with text and hides its blinking cursor. */
  async function write(word: string): Promise<void> {
    const line = `${word} of a guest that has no software for it, `.repeat(2);
    const script = `(printf '\\033[2J\\033[H\\033[?25l'; for i in $(seq 48); do printf '%02d %s\\n' $i '${line}'; done) >/dev/tty1`;
    expect(await vm.run(script)).toMatchObject({ status: 0 });
  }

  it("is shown in its first picture and after every change", async () => {
    await head.viewer.untilUnits(1);
    expect(head.viewer.all("configuration")).toMatchObject([SIZE]);
    for (const word of ["Console", "Screen"]) {
      await write(word);
      await head.untilSeen(word, 10);
    }
  });

  it("comes back by itself when the guest restarts", async () => {
    const before = head.viewer.messages.length;
    await vm.reset();
    const since = head.viewer.messages.slice(before);
    expect(since).toContainEqual(
      expect.objectContaining({ type: "state", body: expect.objectContaining({ code: StateCode.AWAY }) }),
    );
    await write("Restarted console");
    await head.untilSeen("Restarted console", 10);
  });
});

describe("the firmware of a machine without any software", () => {
  const FIRMWARE = "/usr/share/OVMF";
  const folder = mkdtempSync(join(tmpdir(), "vsockenc-heads-"));
  const inFolder = (name: string): string => join(folder, name);
  const sockets = { portSocket: inFolder("port.sock"), exportSocket: inFolder("export.sock") };
  let gpu: SupervisedProcess;
  let qemu: SupervisedProcess;
  let head: WatchedHead;

  beforeAll(async () => {
    const where = { socketPath: inFolder("gpu.sock"), exportPath: sockets.exportSocket };
    gpu = await startGpu(packageRoot, { ...where, heads: 1, mode: MODE, record: undefined }, () => undefined);
    head = await WatchedHead.start(sockets, folder);
    // Firmware that cannot write its variables does not come to its shell.
    const flash = `if=pflash,format=raw,snapshot=on,file=${FIRMWARE}`;
    qemu = new SupervisedProcess("QEMU", [
      QEMU,
      ...["-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg", "-m", "256M"],
      ...["-object", "memory-backend-memfd,id=mem,size=256M,share=on"],
      ...["-machine", "q35,memory-backend=mem,smm=off"],
      ...["-drive", `${flash}/OVMF_CODE_4M.fd`, "-drive", `${flash}/OVMF_VARS_4M.fd`],
      ...["-chardev", `socket,id=gpu,path=${where.socketPath}`, "-device", "vhost-user-gpu-pci,chardev=gpu"],
      ...["-serial", "stdio"],
    ]);
    qemu.start();
  });

  afterAll(async () => {
    head?.stop();
    await qemu?.stop();
    await gpu?.stop();
    rmSync(folder, { recursive: true });
  });

  it("is shown, in the size that it chooses, up to its shell's prompt", async () => {
    await until(() => qemu.log.includes("Shell>") || !qemu.alive, "the shell's prompt");
    expect(qemu.alive, qemu.log).toBe(true);
    await head.untilSeen("Firmware", 0.5);
    expect(head.viewer.all("configuration").at(-1)).toMatchObject(SIZE);
  });
});

/** For people who want to look. */
function savePicture(name: string, { width, height, pixels }: TestPicture): void {
  const shots = join(packageRoot, "out", "heads");
  mkdirSync(shots, { recursive: true });
  const file = join(shots, `${name.toLowerCase().replaceAll(/\W+/g, "-")}.png`);
  const raw = ["-f", "rawvideo", "-pix_fmt", "bgr0", "-s", `${width}x${height}`, "-i", "-"];
  const { status, stderr } = spawnSync("ffmpeg", ["-y", "-loglevel", "error", ...raw, file], {
    input: pixels,
  });
  if (status !== 0) throw new Error(`ffmpeg: ${stderr}`);
}
