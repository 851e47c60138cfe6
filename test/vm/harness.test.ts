/** The harness's pure parts. */
import { describe, expect, it } from "vitest";
import { contentKey } from "./cache.ts";
import { makeCpio } from "./cpio.ts";
import { relayConfiguration } from "./host-processes.ts";
import { mirrorFromTargets } from "./image.ts";
import { type QemuLayout, qemuArguments } from "./qemu-args.ts";
import { isAtLeast, MINIMUM_QEMU, parseQemuVersion } from "./qemu-version.mjs";
import { shellText } from "./shell-text.ts";

const LAYOUT: QemuLayout = {
  accelerator: "tcg",
  memoryMiB: 512,
  gpu: "vsockenc",
  heads: 2,
  mode: undefined,
  kernel: "/image/kernel",
  initrd: "/state/initrd",
  rootDisk: "/image/root.img",
  payloadDisk: "/payload.img",
  stateDir: "/state",
  inDir: "/a,b",
  outDir: undefined,
  verboseKernel: false,
  kernelArgs: ["virtio_gpu.virglhack=0"],
  forward: [{ host: 18_844, guest: 8844 }],
  extra: ["-device", "edu"],
};

describe("QEMU's version", () => {
  it("is read from what it prints", () => {
    expect(parseQemuVersion("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright")).toBe("10.0.2");
    expect(parseQemuVersion("QEMU emulator version 11.1")).toBe("11.1");
    expect(parseQemuVersion("command not found")).toBeUndefined();
  });

  it("is compared number by number", () => {
    expect(isAtLeast("10.0.2", MINIMUM_QEMU)).toBe(true);
    expect(isAtLeast("9.2.4", "10.0")).toBe(false);
    expect(isAtLeast("7.2", "10.0")).toBe(false);
    expect(isAtLeast("10", "10.0")).toBe(true);
    expect(isAtLeast("20.9.0", "20.15")).toBe(false);
  });
});

describe("QEMU's arguments", () => {
  it("share the guest's memory and name the port", () => {
    const args = qemuArguments(LAYOUT);
    expect(args).toContain("memory-backend-memfd,id=mem,size=512M,share=on");
    expect(args).toContain("virtserialport,chardev=vport0,name=org.vsockenc.0,id=port0");
    expect(args).toContain("vhost-user-gpu-pci,chardev=vgpu,max_outputs=2");
    expect(args[args.indexOf("-append") + 1]).toMatch(/ virtio_gpu.virglhack=0$/);
    expect(args.slice(-2)).toEqual(["-device", "edu"]);
  });

  it("double the commas of a folder's name", () => {
    expect(qemuArguments(LAYOUT).some((arg) => arg.includes("path=/a,,b,"))).toBe(true);
  });

  it("let this machine alone in, and the guest not out", () => {
    const args = qemuArguments(LAYOUT);
    expect(args).toContain("user,id=net,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:18844-:8844");
  });

  it("leave out what is not wanted", () => {
    const args = qemuArguments({
      ...LAYOUT,
      gpu: "none",
      payloadDisk: undefined,
      inDir: undefined,
      kernelArgs: [],
      forward: [],
    }).join(" ");
    expect(args).not.toMatch(/gpu|payload|vsockenc-in|net/);
    expect(qemuArguments({ ...LAYOUT, gpu: "stock" })).toContain("virtio-gpu-pci,max_outputs=2");
  });

  it("give a GPU that renders its display, and its output's size", () => {
    const args = qemuArguments({ ...LAYOUT, gpu: "gles", mode: "640x480" }).join(" ");
    expect(args).toContain("-display sdl,gl=es ");
    expect(args).toContain("virtio-gpu-gl-pci,max_outputs=2,xres=640,yres=480");
  });
});

describe("the Debian mirror", () => {
  it("is the machine's first one of Debian's that is not the security archive", () => {
    const lines = [
      "http://other.invalid/x Other stable",
      "http://security.invalid/d Debian bookworm-security",
      "http://mirror.invalid/debian Debian bookworm",
    ];
    expect(mirrorFromTargets(lines.join("\n"))).toBe("http://mirror.invalid/debian");
    expect(mirrorFromTargets("http://u.invalid/ubuntu Ubuntu noble\n")).toBeUndefined();
  });
});

describe("small things", () => {
  it("a cpio archive has aligned headers and a trailer", () => {
    const archive = makeCpio([{ name: "init", content: Buffer.from("#!/bin/sh\n"), executable: true }]);
    expect(archive.length % 4).toBe(0);
    expect(archive.subarray(0, 6).toString()).toBe("070701");
    expect(archive.subarray(14, 22).toString()).toBe("000081ed");
    expect(archive.toString("latin1")).toContain("TRAILER!!!");
  });

  it("a key tells parts apart", () => {
    expect(contentKey(["ab", "c"])).not.toBe(contentKey(["a", "bc"]));
    expect(contentKey(["a"])).toBe(contentKey([Buffer.from("a")]));
  });

  it("the relay's section names the exporter only if there is one", () => {
    expect(relayConfiguration(undefined, { portSocket: "/p", exportSocket: "/e" })).toBe(
      '[[vm]]\nname = "vm"\nports = ["/p"]\nexport = "/e"\n',
    );
    expect(relayConfiguration(undefined, { portSocket: "/p" })).not.toContain("export");
  });

  it("several words reach the shell as they are, one word as a line", () => {
    expect(shellText(["ls *.c; exit 3"])).toBe("ls *.c; exit 3");
    expect(shellText(["gst-launch-1.0", "a", "!", "it's"])).toBe("gst-launch-1.0 a '!' 'it'\\''s'");
  });
});
