import { describe, expect, it } from "vitest";
import { ConfigurationError } from "../../../host/config.ts";
import { type QemuLine, type RunGpu, readQemuLine } from "../../../host/qemu-line.ts";

const line = (text: string, gpu: RunGpu = "2d"): QemuLine =>
  readQemuLine(text.split(" ").filter(Boolean), gpu);

describe("a command line of QEMU", () => {
  it.each([
    ["", 128],
    ["-m 4096", 4096],
    ["-m 4G", 4096],
    ["-m 512M", 512],
    ["--m 1.5g", 1536],
    ["-m size=2G,slots=4,maxmem=8G", 2048],
    ["-m 1G -m 3G", 3072],
    ["-m 1048576K", 1024],
  ])("%s has %i MiB", (text, mebibytes) => {
    expect(line(text).memoryMiB).toBe(mebibytes);
  });

  it("may have memory that is shared, and a display with GL", () => {
    expect(line("-m 1G -machine q35").sharesMemory).toBe(false);
    const shared = "-object memory-backend-memfd,id=ram,size=1G,share=on -machine q35,memory-backend=ram";
    expect(line(shared).sharesMemory).toBe(true);
    expect(line("-object memory-backend-shm,id=r,size=1G -M virt,memory-backend=r").sharesMemory).toBe(true);
    expect(line("-display egl-headless", "gl").hasGlDisplay).toBe(true);
    expect(line("-display gtk,gl=on", "gl").hasGlDisplay).toBe(true);
    expect(line("", "gl").hasGlDisplay).toBe(false);
  });

  it.each([
    "-hda disk.qcow2 -snapshot -nographic -vga none -display none",
    "-device virtio-net-pci,netdev=n -netdev user,id=n -cdrom vga.iso",
    "-kernel bzImage -append root=/dev/vda -smp 4 -accel kvm",
    "-name vga,process=-vga",
  ])("%s can stay as it is", (text) => {
    expect(() => line(text)).not.toThrow();
  });

  it.each([
    ["-vga std", "another GPU"],
    ["-device virtio-gpu-pci,max_outputs=2", "another GPU"],
    ["-device virtio-vga", "another GPU"],
    ["-device driver=qxl-vga", "another GPU"],
    ['-device {"id":"g","driver":"virtio-gpu-pci"}', "another GPU"],
    ["-display gtk", "in the browser"],
    ["--vnc :1", "in the browser"],
    ["-spice port=5900", "in the browser"],
    ["-mem-path /dev/hugepages", "--gpu none"],
    ["-numa node,memdev=m0", "--gpu none"],
    ["-machine microvm", "q35"],
    ["-M type=microvm,acpi=on", "q35"],
    ["-daemonize", "remove it"],
    ["-chardev socket,id=vsockenc-port0,path=/x", "choose another"],
    ["-m lots", "-m 4096M"],
    ["-object memory-backend-file,id=r,mem-path=/x,size=1G -machine memory-backend=r", "share=on"],
    ["-object memory-backend-memfd,id=r,size=1G,share=off -machine memory-backend=r", "share=on"],
    ["-machine memory-backend=missing", "share=on"],
  ])("%s is refused with what to do", (text, remedy) => {
    const read = (): QemuLine => line(text);
    expect(read).toThrow(ConfigurationError);
    expect(read).toThrow(remedy);
  });

  it("with --gpu none keeps its own GPU, display and memory", () => {
    const own = "-vga std -display gtk -mem-path /dev/hugepages -device virtio-gpu-pci";
    expect(line(own, "none").sharesMemory).toBe(false);
    expect(() => line("-daemonize", "none")).toThrow("remove it");
  });

  it("with --gpu gl needs a display with GL, if it has one", () => {
    expect(() => line("-display none", "gl")).toThrow("gl=on");
    expect(() => line("-vnc :1 -display egl-headless", "gl")).not.toThrow();
    expect(() => line("-device virtio-gpu-gl-pci", "gl")).toThrow("another GPU");
  });
});
