/**
 * A head of a real guest without our software, in a viewer of the relay: the decoded pictures are compared with what the
 * Linux console and UEFI firmware draw. The pictures are kept in out/heads.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../common/package-root.ts";
import { parseConfiguration } from "../../host/config.ts";
import { viewerOf } from "../../host/heads/browser-viewer.ts";
import { Relay } from "../../host/relay/relay.ts";
import { vsockenc } from "../../proto/protobuf.ts";
import { temporaryFolder } from "../support/folder.ts";
import { until } from "../support/until.ts";
import type { TestPicture } from "../unit/heads/support/bench.ts";
import { difference, newestPicture } from "../unit/heads/support/decoded.ts";
import { TestViewer } from "../unit/viewer/support/test-viewer.ts";
import { QEMU } from "../vm/accelerator.ts";
import { SupervisedProcess } from "../vm/child.ts";
import { type GuestSockets, startGpu, vmSection } from "../vm/host-processes.ts";
import { useVm } from "../vm/use-vm.ts";
import { Screen } from "./support/screen.ts";

const SIZE = { width: 1280, height: 800 };
const MODE = "1280x800";
const HEAD = "vm/head0";
const { StateCode } = vsockenc.viewer;

/** A head in a viewer of a relay, and the guest's own memory for comparison. */
class WatchedHead {
  readonly viewer: TestViewer;
  readonly #relay: Relay;
  readonly #screen: Screen;

  private constructor(relay: Relay, viewer: TestViewer, screen: Screen) {
    this.#relay = relay;
    this.viewer = viewer;
    this.#screen = screen;
  }

  static async start(sockets: GuestSockets & { readonly exportSocket: string }, folder: string) {
    writeFileSync(join(folder, "index.html"), "<!doctype html><title>page</title>");
    const section = vmSection("vm", sockets, "view = { heads = true }");
    const text = `status.enabled = false\nviewer = { enabled = true, port = 0 }\n${section}`;
    const configuration = parseConfiguration(text, "test");
    const relay = await Relay.start(configuration, pino({ level: "warn" }), viewerOf(configuration, folder));
    const screen = await Screen.connect(sockets.exportSocket);
    const viewer = await TestViewer.connect(relay.viewerAddress ?? "");
    viewer.watch(HEAD);
    return new WatchedHead(relay, viewer, screen);
  }

  stop(): void {
    this.viewer.socket.terminate();
    this.#screen.close();
    this.#relay.stop();
  }

  /**
   * Resolves when the viewer's picture equals the guest's.
   *
   * @param drawn least mean of a colour byte on the guest's screen, since a black screen proves nothing
   */
  async untilSeen(what: string, drawn: number): Promise<void> {
    const seen = await until(async () => {
      const truth = await this.#screen.read();
      if (truth === undefined) return undefined;
      const text = difference({ ...truth, pixels: Buffer.alloc(truth.pixels.length) }, truth);
      const newest = newestPicture(this.viewer);
      return text > drawn && difference(newest, truth) < text / 10 ? newest : undefined;
    }, `the picture of ${what}`);
    savePicture(what, seen);
  }
}

describe("the console of a guest without our software", () => {
  const folder = temporaryFolder();
  const guest = useVm({ gpu: "vsockenc", relay: false, payload: false, mode: MODE });
  let head: WatchedHead;

  beforeAll(async () => {
    head = await WatchedHead.start(guest.vm, folder);
  });
  afterAll(() => head?.stop());

  /** Fills the console with text and hides its blinking cursor. */
  async function write(word: string): Promise<void> {
    const line = `${word} of a guest that has no software for it, `.repeat(2);
    const script = `(printf '\\033[2J\\033[H\\033[?25l'; for i in $(seq 48); do printf '%02d %s\\n' $i '${line}'; done) >/dev/tty1`;
    await guest.vm.succeed(script);
  }

  it("is shown in its first picture and after every change", async () => {
    await head.viewer.untilUnits(1);
    expect(head.viewer.all("configuration")).toMatchObject([SIZE]);
    for (const word of ["Console", "Screen"]) {
      await write(word);
      await head.untilSeen(word, 10);
    }
  });

  it("is shown again after the guest restarts", async () => {
    const before = head.viewer.messages.length;
    await guest.vm.reset();
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
  const folder = temporaryFolder();
  const inFolder = (name: string): string => join(folder, name);
  const sockets = { portSocket: inFolder("port.sock"), exportSocket: inFolder("export.sock") };
  let gpu: SupervisedProcess;
  let qemu: SupervisedProcess;
  let head: WatchedHead;

  beforeAll(async () => {
    const where = { socketPath: inFolder("gpu.sock"), exportPath: sockets.exportSocket };
    gpu = await startGpu({ ...where, mode: MODE });
    head = await WatchedHead.start(sockets, folder);
    // Without writable variables the firmware does not start its shell.
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
  });

  it("is shown in its own size, up to the shell's prompt", async () => {
    await until(() => qemu.log.includes("Shell>") || !qemu.alive, "the shell's prompt");
    expect(qemu.alive, qemu.log).toBe(true);
    await head.untilSeen("Firmware", 0.5);
    expect(head.viewer.all("configuration").at(-1)).toMatchObject(SIZE);
  });
});

/** Keeps a picture for inspection. */
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
