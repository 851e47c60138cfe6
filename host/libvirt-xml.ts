/**
 * The devices that a VM needs, as a small domain of libvirt: shared memory, the ports as channels, and the GPU.
 *
 * The GPU is a chardev and a device on QEMU's command line, not libvirt's own <video> with a vhost-user driver. libvirt would
 * start that back end itself and pass nothing that identifies the VM, so no relay could find its export socket.
 */
import { gpuArguments, type QemuVm } from "./qemu-args.ts";

export interface LibvirtVm extends Omit<QemuVm, "memoryBackend"> {
  readonly name: string;
}

function escapeXml(text: string): string {
  const entities: Readonly<Record<string, string>> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "'": "&apos;",
  };
  return text.replace(/[&<>']/g, (character) => entities[character] ?? character);
}

/** A domain that can be defined, and from which its parts can be copied into another. */
export function libvirtXml(vm: LibvirtVm): string {
  const { name, gpuSocket, memoryMiB } = vm;
  const lines = [
    "<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>",
    `  <name>${escapeXml(name)}</name>`,
    `  <memory unit='MiB'>${memoryMiB}</memory>`,
    ...(gpuSocket === undefined
      ? []
      : [
          "  <!-- The GPU process reads the guest's memory. -->",
          "  <memoryBacking>",
          "    <source type='memfd'/>",
          "    <access mode='shared'/>",
          "  </memoryBacking>",
        ]),
    "  <os><type machine='q35'>hvm</type></os>",
    "  <devices>",
    "    <controller type='virtio-serial' index='0'/>",
    ...vm.ports.flatMap((path, index) => channel(path, index, vm.chardev)),
    ...(gpuSocket === undefined
      ? []
      : ["    <!-- The GPU is below. -->", "    <video><model type='none'/></video>"]),
    "  </devices>",
    ...gpuCommandLine(vm),
    "</domain>",
  ];
  return `${lines.join("\n")}\n`;
}

function channel(path: string, index: number, chardev: "server" | "client"): string[] {
  const source =
    chardev === "server"
      ? [`      <source mode='bind' path='${escapeXml(path)}'/>`]
      : [
          `      <source mode='connect' path='${escapeXml(path)}'>`,
          "        <reconnect enabled='yes' timeout='1'/>",
          "      </source>",
        ];
  return [
    "    <channel type='unix'>",
    ...source,
    `      <target type='virtio' name='org.vsockenc.${index}'/>`,
    "    </channel>",
  ];
}

function gpuCommandLine(vm: LibvirtVm): string[] {
  const words = gpuArguments(vm);
  if (words.length === 0) return [];
  const args = words.map((word) => `    <qemu:arg value='${escapeXml(word)}'/>`);
  return ["  <qemu:commandline>", ...args, "  </qemu:commandline>"];
}
