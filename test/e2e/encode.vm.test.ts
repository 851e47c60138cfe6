import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { countersOf, dmabufsrc, upTo } from "../support/counter.ts";
import { inspectStream } from "../support/ffmpeg.ts";
import { temporaryFolder } from "../support/folder.ts";
import { portBulk } from "../support/port-recording.ts";
import { until } from "../support/until.ts";
import { shellText } from "../vm/shell-text.ts";
import { useVm } from "../vm/use-vm.ts";
import { Vm } from "../vm/vm.ts";

/** One guest with our GPU and relay, shared by all tests. */
describe("a real guest", () => {
  const folder = temporaryFolder();
  const out = (name: string): string => join(folder, name);
  const relayConfig = out("relay.toml");
  writeFileSync(relayConfig, '[log]\nlevel = "trace"\n');
  const guest = useVm({ outDir: folder, countPort: true, recordPort: folder, relayConfig });

  const packets = (vm = guest.vm): number => (vm.relay?.log ?? "").split('"msg":"packet"').length - 1;

  /** Encodes system memory. @param name of a file in the folder, without ".h264" */
  const launch = (size: string, frames: number, encoder: string, name?: string): string => {
    const caps = `video/x-raw,format=BGRx,width=${size.replace("x", ",height=")},framerate=30/1`;
    const sink = name === undefined ? "fakesink" : `h264parse ! filesink location=/out/${name}.h264`;
    return `gst-launch-1.0 -v videotestsrc num-buffers=${frames} ! ${caps} ! ${encoder} ! ${sink}`;
  };

  it("has a KMS device that sets a mode and flips", async () => {
    const connectors = await guest.vm.succeed("modetest -M virtio_gpu -c");
    expect(connectors).toMatch(/connected\s+Virtual-1/);
    const connector = /^(\d+)\s+\d+\s+connected/m.exec(connectors)?.[1];
    const crtc = /^CRTCs:\n.*\n(\d+)/m.exec(await guest.vm.succeed("modetest -M virtio_gpu -p"))?.[1];
    const show = `stdbuf -oL modetest -M virtio_gpu -s ${connector}@${crtc}:1024x768 -v 2>&1`;
    const flips = guest.vm.start(`sleep 1000 | ${show}`);
    await until(() => /freq: \d+/.test(flips.stdout), "flips");
    flips.signal("KILL");
    await flips.done;
    expect(flips.stdout).toMatch(/setting mode 1024x768/);
  });

  it("has a complete description of the element", async () => {
    const description = await guest.vm.succeed("gst-inspect-1.0 vsockenc");
    const expected = ["Codec/Encoder/Video/Hardware", "bitrate", "kbit/s", "device"];
    for (const text of [...expected, "memory:DMABuf", "DMA_DRM"]) expect(description).toContain(text);
    const properties = description.slice(description.indexOf("Element Properties"));
    for (const [, name, blurb] of properties.matchAll(/^ {2}([a-z-]+) +: (.*)$/gm)) {
      expect(blurb, `${name} has a description`).not.toBe("");
    }
  });

  it("encodes 300 frames of system memory, drawn into the element's own buffers", async () => {
    const printed = await guest.vm.succeed(launch("1280x720", 300, "vsockenc bitrate=4000", "a"));
    expect(printed).toMatch(/vsockenc0: source = resource$/m);
    expect(inspectStream(out("a.h264")).frames).toBe(300);
  });

  it.each(["dumb", "resource"])("encodes every frame of DmaBufs by %s, in order", async (allocator) => {
    const size = { width: 1280, height: 720 };
    const frames = 120;
    const before = guest.vm.portProxy?.counts().guestToHost ?? 0;
    const pipeline = `vsockenc bitrate=8000 ! h264parse ! filesink location=/out/${allocator}.h264`;
    const options = `--allocator ${allocator} --buffers 8 --format BGRx --stats-json /out/${allocator}.json`;
    await guest.vm.succeed(dmabufsrc(size, frames, pipeline, options));
    const bytes = (guest.vm.portProxy?.counts().guestToHost ?? 0) - before;
    expect(countersOf(out(`${allocator}.h264`), size)).toEqual(upTo(frames));
    expect(JSON.parse(readFileSync(out(`${allocator}.json`), "utf8")).tier).toBe("resource");
    expect(bytes / frames).toBeLessThanOrEqual(128);
  });

  it("has sent no pixel over the port so far", async () => {
    expect(readdirSync(folder)).toContain("guest-to-host.bin");
    expect(await portBulk(out("guest-to-host.bin"))).toEqual({ frames: 540, dataBytes: 0 });
  });

  it.each(["1366x768", "321x241", "64x64"])("encodes %s from system memory", async (size) => {
    await guest.vm.succeed(launch(size, 10, "vsockenc", "b"));
    expect(inspectStream(out("b.h264")).frames).toBe(10);
  });

  it("loses no frame of a non-live pipeline when the relay is killed, and resumes with a key frame", async () => {
    const size = { width: 640, height: 480 };
    const frames = 200;
    const pipeline = "vsockenc keyframe-interval=1000 ! h264parse ! filesink location=/out/killed.h264";
    const before = packets();
    const job = guest.vm.start(dmabufsrc(size, frames, pipeline, "--allocator resource --format BGRx"));
    await until(() => packets() > before + 30, "packets before the kill");
    guest.vm.relay?.kill("SIGKILL");
    await guest.vm.relay?.ended();
    guest.vm.relay?.start();
    const { status, stderr } = await job.done;
    expect(status, stderr).toBe(0);
    expect(countersOf(out("killed.h264"), size)).toEqual(upTo(frames));
    expect(inspectStream(out("killed.h264")).keyFrames).toBe(2);
  });

  it("continues after the VM was stopped", async () => {
    const job = guest.vm.start(launch("640x480", 150, "vsockenc", "paused"));
    const before = packets();
    const silences = (): number => (guest.vm.relay?.log ?? "").split("was silent").length;
    const silencesBefore = silences();
    await until(() => packets() > before + 20, "packets before the stop");
    await guest.vm.qmp.execute("stop");
    await until(() => silences() > silencesBefore, "the end of the silent session");
    await guest.vm.qmp.execute("cont");
    expect((await job.done).status).toBe(0);
    expect(inspectStream(out("paused.h264")).frames).toBe(150);
  });

  // In a guest of its own, because QEMU's emulator may fail at a reset.
  it("works again after the machine was reset in mid-stream", async () => {
    await Vm.use({ outDir: folder, relayConfig, log: console.log }, async (own) => {
      own.start(launch("640x480", 10_000, "vsockenc"));
      await until(() => packets(own) > 20, "packets before the reset");
      await own.reset();
      await own.succeed(launch("640x480", 30, "vsockenc", "reset"));
      expect(inspectStream(out("reset.h264")).frames).toBe(30);
    });
  });

  // In a guest of its own, whose port comes back as another device.
  it("loses no frame of a non-live pipeline when its port is unplugged and plugged in again", async () => {
    await Vm.use({ outDir: folder, relayConfig }, async (own) => {
      const size = { width: 640, height: 480 };
      const frames = 200;
      const pipeline = "vsockenc keyframe-interval=1000 ! h264parse ! filesink location=/out/plugged.h264";
      const job = own.start(dmabufsrc(size, frames, pipeline, "--allocator resource --format BGRx"));
      await until(() => packets(own) > 30, "packets before the port is unplugged");
      const unplugged = own.qmp.waitForEvent("DEVICE_DELETED");
      await own.qmp.execute("device_del", { id: "port0" });
      await unplugged;
      const port = { driver: "virtserialport", id: "port0", chardev: "vport0", name: "org.vsockenc.0" };
      await own.qmp.execute("device_add", port);
      const { status, stderr } = await job.done;
      expect(status, stderr).toBe(0);
      expect(countersOf(out("plugged.h264"), size)).toEqual(upTo(frames));
      expect(inspectStream(out("plugged.h264")).keyFrames).toBe(2);
    });
  });

  describe("in a container, which has no links of udev,", () => {
    const inContainer = (setup: string, command: string): string =>
      shellText(["unshare", "-m", "sh", "-c", `${setup} && exec ${command}`]);

    it("finds its port by the kernel's names", async () => {
      const hidden = "mount -t tmpfs none /dev/virtio-ports";
      await guest.vm.succeed(inContainer(hidden, launch("640x480", 10, "vsockenc", "contained")));
      expect(inspectStream(out("contained.h264")).frames).toBe(10);
    });

    it("names the device that the container lacks", async () => {
      const bare = "mount -t tmpfs none /dev && mknod /dev/null c 1 3 && mknod /dev/urandom c 1 9";
      const { status, stdout, stderr } = await guest.vm.run(
        inContainer(bare, launch("640x480", 10, "vsockenc")),
      );
      expect(status).not.toBe(0);
      expect(stdout + stderr).toMatch(/start the container with --device \/dev\/vport\d+p\d+/);
    });
  });

  it.each([
    ["the device without a host", "connect-timeout=2000", ["org.vsockenc.0", "vsockenc relay"]],
    [
      "the missing device",
      "device=/dev/virtio-ports/org.vsockenc.3",
      ["/dev/virtio-ports/org.vsockenc.3", "qemu-args"],
    ],
  ])("names %s, and the remedy", async (_what, property, named) => {
    await guest.vm.relay?.stop();
    const { status, stderr, stdout } = await guest.vm.run(launch("640x480", 10, `vsockenc ${property}`));
    expect(status).not.toBe(0);
    for (const text of named) expect(stderr + stdout).toContain(text);
    guest.vm.relay?.start();
  });
});
