import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LIMITS } from "../../proto/limits.ts";
import { readCounters } from "../support/counter.ts";
import { decodeGray, inspectStream } from "../support/ffmpeg.ts";
import { portBulk } from "../support/port-recording.ts";
import { until } from "../support/until.ts";
import { Vm } from "../vm/vm.ts";

/** A guest with our GPU and relay, and everything that one test after the other does in it. */
describe("a real guest", () => {
  const folder = mkdtempSync(join(tmpdir(), "vsockenc-e2e-"));
  const out = (name: string): string => join(folder, name);
  let vm: Vm;

  beforeAll(async () => {
    const relayConfig = out("relay.toml");
    writeFileSync(relayConfig, '[log]\nlevel = "trace"\n');
    vm = await Vm.boot({ outDir: folder, countPort: true, recordPort: folder, relayConfig });
  });
  afterAll(async () => {
    await vm?.shutdown();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Runs a command that is to succeed and gives what it printed. */
  async function succeed(command: string, guest = vm): Promise<string> {
    const { status, stdout, stderr } = await guest.run(command);
    if (status !== 0) throw new Error(`${command}\nfailed with ${status}:\n${stdout}\n${stderr}`);
    return stdout;
  }

  const sourceAt = (size: string, frames: number): string => {
    const [width, height] = size.split("x");
    return `videotestsrc num-buffers=${frames} ! video/x-raw,format=BGRx,width=${width},height=${height},framerate=30/1`;
  };

  it("has a KMS device that sets a mode and flips", async () => {
    const connectors = await succeed("modetest -M virtio_gpu -c");
    expect(connectors).toMatch(/connected\s+Virtual-1/);
    const connector = /^(\d+)\s+\d+\s+connected/m.exec(connectors)?.[1];
    const crtc = /^CRTCs:\n.*\n(\d+)/m.exec(await succeed("modetest -M virtio_gpu -p"))?.[1];
    const flips = await vm.run(
      `(sleep 3; echo) | modetest -M virtio_gpu -s ${connector}@${crtc}:1024x768 -v 2>&1`,
    );
    expect(flips.stdout).toMatch(/setting mode 1024x768/);
    expect(flips.stdout).toMatch(/freq: \d+/);
  });

  it("has a complete description of the element", async () => {
    const description = await succeed("gst-inspect-1.0 vsockenc");
    for (const text of [
      "Codec/Encoder/Video/Hardware",
      "bitrate",
      "kbit/s",
      "device",
      "memory:DMABuf",
      "DMA_DRM",
    ]) {
      expect(description).toContain(text);
    }
    const properties = description.slice(description.indexOf("Element Properties"));
    for (const [, name, blurb] of properties.matchAll(/^ {2}([a-z-]+) +: (.*)$/gm)) {
      expect(blurb, `${name} has a description`).not.toBe("");
    }
  });

  it("encodes 300 frames of system memory, drawn into the element's own buffers", async () => {
    const printed = await succeed(
      `gst-launch-1.0 -v ${sourceAt("1280x720", 300)} ! vsockenc bitrate=4000 ! h264parse ! filesink location=/out/a.h264`,
    );
    expect(printed).toMatch(/vsockenc0: source = resource$/m);
    expect(inspectStream(out("a.h264")).frames).toBe(300);
  });

  it.each([
    "dumb",
    "resource",
  ])("gives every counter of DmaBufs made by %s back, in order", async (allocator) => {
    const size = { width: 1280, height: 720 };
    const frames = 120;
    const before = vm.portProxy?.counts().guestToHost ?? 0;
    await succeed(
      `dmabufsrc --allocator ${allocator} --buffers 8 --frames ${frames} --width ${size.width} --height ${size.height} ` +
        `--format BGRx --stats-json /out/${allocator}.json ` +
        `--pipeline 'vsockenc bitrate=8000 ! h264parse ! filesink location=/out/${allocator}.h264'`,
    );
    const bytes = (vm.portProxy?.counts().guestToHost ?? 0) - before;
    const pictures = decodeGray(out(`${allocator}.h264`), size.width, size.height);
    expect(readCounters(pictures, size.width)).toEqual(Array.from({ length: frames }, (_, n) => n));
    expect(JSON.parse(readFileSync(out(`${allocator}.json`), "utf8")).tier).toBe("resource");
    expect(bytes / frames).toBeLessThanOrEqual(128);
  });

  it("has sent no pixel over the port so far", async () => {
    expect(readdirSync(folder)).toContain("guest-to-host.bin");
    expect(await portBulk(out("guest-to-host.bin"))).toEqual({ frames: 540, dataBytes: 0 });
  });

  it.each(["1366x768", "321x241", "64x64"])("encodes %s from system memory", async (size) => {
    await succeed(
      `gst-launch-1.0 ${sourceAt(size, 10)} ! vsockenc ! h264parse ! filesink location=/out/b.h264`,
    );
    expect(inspectStream(out("b.h264")).frames).toBe(10);
  });

  it("loses no frame of a non-live pipeline when the relay is killed, and goes on with a key frame", async () => {
    const size = { width: 640, height: 480 };
    const frames = 200;
    const job = vm.start(
      `dmabufsrc --allocator resource --frames ${frames} --width ${size.width} --height ${size.height} --format BGRx ` +
        "--pipeline 'vsockenc keyframe-interval=1000 ! h264parse ! filesink location=/out/killed.h264'",
    );
    const relay = vm.relay;
    if (relay === undefined) throw new Error("no relay");
    const logged = relay.log.length;
    const packets = (): number => relay.log.slice(logged).split('"msg":"packet"').length - 1;
    await until(() => packets() > 30, "packets before the kill");
    relay.kill("SIGKILL");
    await relay.ended();
    relay.start();
    const { status, stderr } = await job.done;
    expect(stderr).toBe(stderr);
    expect(status).toBe(0);
    const pictures = decodeGray(out("killed.h264"), size.width, size.height);
    expect(readCounters(pictures, size.width)).toEqual(Array.from({ length: frames }, (_, n) => n));
    expect(inspectStream(out("killed.h264")).keyFrames).toBe(2);
  });

  it("goes on after the VM was stopped for a while", async () => {
    const job = vm.start(
      `gst-launch-1.0 ${sourceAt("640x480", 150)} ! vsockenc ! h264parse ! filesink location=/out/paused.h264`,
    );
    const packets = (): number => (vm.relay?.log ?? "").split('"msg":"packet"').length;
    const before = packets();
    await until(() => packets() > before + 20, "packets before the stop");
    await vm.qmp.execute("stop");
    await new Promise((resolve) => setTimeout(resolve, LIMITS.SILENCE_MS + 1500));
    await vm.qmp.execute("cont");
    expect((await job.done).status).toBe(0);
    expect(inspectStream(out("paused.h264")).frames).toBe(150);
  });

  // In a guest of its own: resets are when QEMU's emulator may fail.
  it("goes on after the machine was reset in mid-stream", async () => {
    const options = { outDir: folder, relayConfig: out("relay.toml"), log: console.log };
    await Vm.use(options, async (guest) => {
      const lost = guest.start(`gst-launch-1.0 ${sourceAt("640x480", 10_000)} ! vsockenc ! fakesink`);
      lost.done.catch(() => undefined);
      const packets = (): number => (guest.relay?.log ?? "").split('"msg":"packet"').length;
      await until(() => packets() > 20, "packets before the reset");
      await guest.reset();
      await succeed(
        `gst-launch-1.0 ${sourceAt("640x480", 30)} ! vsockenc ! h264parse ! filesink location=/out/reset.h264`,
        guest,
      );
      expect(inspectStream(out("reset.h264")).frames).toBe(30);
    });
  });

  it("says which device has no host behind it and what to do, within the time that was set", async () => {
    await vm.relay?.stop();
    const { status, stderr, stdout } = await vm.run(
      `gst-launch-1.0 ${sourceAt("640x480", 10)} ! vsockenc connect-timeout=2000 ! fakesink`,
      { timeoutMs: 60_000 },
    );
    expect(status).not.toBe(0);
    expect(stderr + stdout).toContain("org.vsockenc.0");
    expect(stderr + stdout).toContain("vsockenc relay");
    vm.relay?.start();
  });

  it("says which device is missing when the VM has none", async () => {
    const { status, stderr, stdout } = await vm.run(
      `gst-launch-1.0 ${sourceAt("640x480", 10)} ! vsockenc device=/dev/virtio-ports/org.vsockenc.3 ! fakesink`,
    );
    expect(status).not.toBe(0);
    expect(stderr + stdout).toContain("/dev/virtio-ports/org.vsockenc.3");
    expect(stderr + stdout).toContain("qemu-args");
  });
});
