import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";
import {
  type HypervisorHost,
  type HypervisorVm,
  libvirtXml,
  type QemuGlGpu,
  qemuArguments,
  qemuEnvironment,
} from "../../../host/hypervisor.ts";
import { temporaryFolder } from "../../support/folder.ts";

const folder = temporaryFolder();

const VM: HypervisorVm = {
  name: "a & b",
  gpu: { kind: "vhost-user", socket: "/run/it's,here/gpu.sock", heads: 2 },
  ports: ["/run/p0.sock", "/run/p<1>.sock"],
  chardev: "server",
  memoryMiB: 1024,
};

const GL: QemuGlGpu = {
  kind: "qemu-gl",
  library: "/usr/lib/vsockenc/libvsockenc-virgl.so",
  exportSocket: "/run/it's<here>/export.sock",
  exportUsers: [],
  heads: 2,
  mode: { width: 1920, height: 1080 },
  venus: false,
};
const GL_VM: HypervisorVm = { ...VM, gpu: GL };

const HOST: HypervisorHost = { memoryBackend: "memfd", glDisplay: "egl-headless" };

/** What libvirt's own schema says of a domain. */
function validate(xml: string): { status: number | null; text: string } {
  const file = join(folder, "domain.xml");
  writeFileSync(file, xml);
  const { status, stdout, stderr, error } = spawnSync("virt-xml-validate", [file, "domain"], {
    encoding: "utf8",
  });
  if (error !== undefined)
    throw new Error(`virt-xml-validate does not start (${error.message}): npm run setup`);
  return { status, text: stdout + stderr };
}

describe("qemuArguments", () => {
  const args = qemuArguments(VM, HOST);

  it("shares the guest's memory, in the size that -m says", () => {
    expect(args).toContain("memory-backend-memfd,id=vsockenc-mem,size=1024M,share=on");
    expect(args[args.indexOf("-m") + 1]).toBe("1024M");
  });

  it("takes POSIX shared memory where there is no memfd", () => {
    expect(qemuArguments(VM, { ...HOST, memoryBackend: "shm" })).toContain(
      "memory-backend-shm,id=vsockenc-mem,size=1024M",
    );
  });

  it("doubles commas, which QEMU would take as separators", () => {
    expect(args).toContain("socket,id=vsockenc-gpu,path=/run/it's,,here/gpu.sock");
  });

  it("gives each port its name", () => {
    const ports = args.filter((word) => word.startsWith("virtserialport"));
    expect(ports.map((word) => word.split("name=")[1])).toEqual(["org.vsockenc.0", "org.vsockenc.1"]);
  });

  it("leaves the GPU and the memory alone when there is no GPU process", () => {
    const portsOnly = { ...VM, gpu: undefined, ports: ["/p"], chardev: "client" } as const;
    const text = qemuArguments(portsOnly, HOST).join(" ");
    expect(text).not.toMatch(/vhost|memory/);
    expect(text).toContain("socket,id=vsockenc-port0,path=/p,server=off,reconnect-ms=");
    expect(qemuEnvironment(portsOnly)).toEqual({});
  });
});

describe("qemuArguments of a GPU that renders", () => {
  const args = qemuArguments(GL_VM, HOST);

  it("are QEMU's own device, alone, and a display with GL", () => {
    expect(args).toContain("virtio-gpu-gl-pci,max_outputs=2,xres=1920,yres=1080");
    expect(args[args.indexOf("-vga") + 1]).toBe("none");
    expect(args[args.indexOf("-display") + 1]).toBe("egl-headless");
    expect(args.join(" ")).not.toContain("vhost");
  });

  it("share the guest's memory, so that what its CPU drew is read in place", () => {
    expect(args).toContain("memory-backend-memfd,id=vsockenc-mem,size=1024M,share=on");
    expect(args).toContain("memory-backend=vsockenc-mem");
    expect(args.some((word) => word.startsWith("virtserialport"))).toBe(true);
  });

  it.each(["sdl", "gtk"] as const)("turn GL on for %s, which has none by default", (glDisplay) => {
    expect(qemuArguments(GL_VM, { ...HOST, glDisplay })).toContain(`${glDisplay},gl=on`);
  });

  it("give the guest Vulkan only when asked", () => {
    expect(args.join(" ")).not.toMatch(/venus|blob/);
    const venus = qemuArguments({ ...VM, gpu: { ...GL, venus: true } }, HOST);
    expect(venus.join(" ")).toContain("yres=1080,blob=on,venus=on,hostmem=256M");
  });

  it("come with an environment that loads the exporter, and admits other users where there are any", () => {
    const environment = { LD_PRELOAD: GL.library, VSOCKENC_EXPORT: GL.exportSocket };
    expect(qemuEnvironment(GL_VM)).toEqual(environment);
    const admitting = { ...VM, gpu: { ...GL, exportUsers: [1000, 64055] } };
    expect(qemuEnvironment(admitting)).toEqual({ ...environment, VSOCKENC_EXPORT_USERS: "1000,64055" });
    expect(qemuEnvironment(VM)).toEqual({});
  });
});

describe("libvirtXml", () => {
  it.each([
    ["with a GPU", VM],
    ["with ports alone", { ...VM, gpu: undefined }],
    ["with a GPU that renders", { ...VM, gpu: { ...GL, exportUsers: [1000] } }],
    ["with chardevs that connect", { ...VM, chardev: "client" as const }],
    ["without ports", { ...VM, ports: [] }],
  ])("is a domain by libvirt's schema %s", (_what, vm) => {
    expect(validate(libvirtXml(vm))).toMatchObject({ status: 0 });
  });

  it("is checked by a schema that finds mistakes", () => {
    expect(validate(libvirtXml(VM).replaceAll("channel", "chanel")).status).not.toBe(0);
  });

  it("shares memory, names the ports, and gives QEMU the GPU's socket with its commas doubled", () => {
    const xml = libvirtXml(VM);
    for (const part of [
      "<access mode='shared'/>",
      "<source type='memfd'/>",
      "<name>a &amp; b</name>",
      "<target type='virtio' name='org.vsockenc.1'/>",
      "path='/run/p&lt;1&gt;.sock'",
      "value='socket,id=vsockenc-gpu,path=/run/it&apos;s,,here/gpu.sock'",
      "max_outputs=2",
    ]) {
      expect(xml).toContain(part);
    }
  });
});

describe("libvirtXml of a GPU that renders", () => {
  it("has virtio with 3D and GL without a window, and loads the exporter by QEMU's environment", () => {
    const xml = libvirtXml(GL_VM);
    for (const part of [
      "<access mode='shared'/>",
      "<graphics type='egl-headless'/>",
      "<model type='virtio' heads='2' primary='yes'>",
      "<acceleration accel3d='yes'/>",
      "<resolution x='1920' y='1080'/>",
      "<qemu:env name='LD_PRELOAD' value='/usr/lib/vsockenc/libvsockenc-virgl.so'/>",
      "<qemu:env name='VSOCKENC_EXPORT' value='/run/it&apos;s&lt;here&gt;/export.sock'/>",
    ]) {
      expect(xml).toContain(part);
    }
    expect(xml).not.toMatch(/vhost|qemu:arg|type='none'/);
  });
});

describe("the vhost-user descriptor", () => {
  it("names the program that answers --print-capabilities as it says", () => {
    const file = join(packageRoot, "packaging", "libvirt", "50-vsockenc-gpu.json");
    const descriptor = JSON.parse(readFileSync(file, "utf8")) as { type: string; binary: string };
    const { bin } = JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")) as {
      bin: Record<string, string>;
    };
    const program = bin[descriptor.binary.split("/").at(-1) ?? ""];
    expect(program).toBeDefined();
    const { stdout } = spawnSync(process.execPath, [
      join(packageRoot, program ?? ""),
      "--print-capabilities",
    ]);
    expect(JSON.parse(stdout.toString())).toMatchObject({ type: descriptor.type });
  });
});
