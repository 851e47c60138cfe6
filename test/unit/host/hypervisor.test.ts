import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";
import { type HypervisorVm, libvirtXml, qemuArguments } from "../../../host/hypervisor.ts";
import { temporaryFolder } from "../../support/folder.ts";

const folder = temporaryFolder();

const VM: HypervisorVm = {
  name: "a & b",
  gpuSocket: "/run/it's,here/gpu.sock",
  heads: 2,
  ports: ["/run/p0.sock", "/run/p<1>.sock"],
  chardev: "server",
  memoryMiB: 1024,
};

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
  const args = qemuArguments(VM, "memfd");

  it("shares the guest's memory, in the size that -m says", () => {
    expect(args).toContain("memory-backend-memfd,id=vsockenc-mem,size=1024M,share=on");
    expect(args[args.indexOf("-m") + 1]).toBe("1024M");
  });

  it("takes POSIX shared memory where there is no memfd", () => {
    expect(qemuArguments(VM, "shm")).toContain("memory-backend-shm,id=vsockenc-mem,size=1024M");
  });

  it("doubles commas, which QEMU would take as separators", () => {
    expect(args).toContain("socket,id=vsockenc-gpu,path=/run/it's,,here/gpu.sock");
  });

  it("gives each port its name", () => {
    const ports = args.filter((word) => word.startsWith("virtserialport"));
    expect(ports.map((word) => word.split("name=")[1])).toEqual(["org.vsockenc.0", "org.vsockenc.1"]);
  });

  it("leaves the GPU and the memory alone when there is no GPU process", () => {
    const portsOnly = { ...VM, gpuSocket: undefined, ports: ["/p"], chardev: "client" } as const;
    const text = qemuArguments(portsOnly, "memfd").join(" ");
    expect(text).not.toMatch(/vhost|memory/);
    expect(text).toContain("socket,id=vsockenc-port0,path=/p,server=off,reconnect-ms=");
  });
});

describe("libvirtXml", () => {
  it.each([
    ["with a GPU", VM],
    ["with ports alone", { ...VM, gpuSocket: undefined }],
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
