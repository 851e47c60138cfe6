import { describe, expect, it } from "vitest";
import { qemuArguments } from "../../../host/qemu-args.ts";

describe("qemuArguments", () => {
  const args = qemuArguments({
    gpuSocket: "/run/a,b/gpu.sock",
    heads: 2,
    ports: ["/run/p0.sock", "/run/p1.sock"],
    chardev: "server",
    memoryMiB: 1024,
    memoryBackend: "memfd",
  });

  it("shares the guest's memory, in the size that -m says", () => {
    expect(args).toContain("memory-backend-memfd,id=vsockenc-mem,size=1024M,share=on");
    expect(args[args.indexOf("-m") + 1]).toBe("1024M");
  });

  it("takes POSIX shared memory where there is no memfd", () => {
    const vm = { gpuSocket: "/g", heads: 1, ports: [], chardev: "server", memoryMiB: 512 } as const;
    const posix = qemuArguments({ ...vm, memoryBackend: "shm" });
    expect(posix).toContain("memory-backend-shm,id=vsockenc-mem,size=512M");
  });

  it("doubles commas, which QEMU would take as separators", () => {
    expect(args).toContain("socket,id=vsockenc-gpu,path=/run/a,,b/gpu.sock");
  });

  it("gives each port its name", () => {
    expect(
      args.filter((word) => word.startsWith("virtserialport")).map((word) => word.split("name=")[1]),
    ).toEqual(["org.vsockenc.0", "org.vsockenc.1"]);
  });

  it("leaves the GPU and the memory alone when there is no GPU process", () => {
    const portsOnly = qemuArguments({
      gpuSocket: undefined,
      heads: 1,
      ports: ["/p"],
      chardev: "client",
      memoryMiB: 1024,
      memoryBackend: "memfd",
    }).join(" ");
    expect(portsOnly).not.toMatch(/vhost|memory/);
    expect(portsOnly).toContain("socket,id=vsockenc-port0,path=/p,server=off,reconnect-ms=");
  });
});
