/**
 * What a VM needs of its hypervisor: shared memory, the vhost-user GPU and the ports, as arguments of QEMU or as a domain of
 * libvirt.
 */
export interface HypervisorVm {
  readonly name: string;
  /** Socket of `vsockenc gpu`; without it, the VM gets only ports. */
  readonly gpuSocket: string | undefined;
  readonly heads: number;
  /** Chardev sockets for org.vsockenc.0, .1, … */
  readonly ports: readonly string[];
  /** Whether QEMU listens on them or connects to them. */
  readonly chardev: "server" | "client";
  /** Guest memory in MiB; must equal the VM's -m. */
  readonly memoryMiB: number;
}

/** memfd on Linux; shm (QEMU 9.1), POSIX shared memory, on other systems, where it is always shared. */
export const MEMORY_BACKENDS = ["memfd", "shm"] as const;
export type MemoryBackend = (typeof MEMORY_BACKENDS)[number];

const CHARDEV_OPTIONS = { server: "server=on,wait=off", client: "server=off,reconnect-ms=500" } as const;

/** A comma in a value ends it, unless it is doubled (QEMU's manual, "Options"). */
function quote(value: string): string {
  return value.replaceAll(",", ",,");
}

/** The GPU's chardev and device; empty if the VM has none. */
function gpuArguments({ gpuSocket, heads }: HypervisorVm): string[] {
  if (gpuSocket === undefined) return [];
  return [
    ...["-chardev", `socket,id=vsockenc-gpu,path=${quote(gpuSocket)}`],
    ...["-device", `vhost-user-gpu-pci,chardev=vsockenc-gpu,max_outputs=${heads}`],
  ];
}

/** Arguments to add to a VM's command line, one array element each. */
export function qemuArguments(vm: HypervisorVm, memoryBackend: MemoryBackend): string[] {
  const { gpuSocket, ports, chardev, memoryMiB } = vm;
  const share = memoryBackend === "memfd" ? ",share=on" : "";
  const memory = `id=vsockenc-mem,size=${memoryMiB}M${share}`;
  const gpu =
    gpuSocket === undefined
      ? []
      : [
          ...["-m", `${memoryMiB}M`],
          ...["-object", `memory-backend-${memoryBackend},${memory}`],
          ...["-machine", "memory-backend=vsockenc-mem"],
          ...gpuArguments(vm),
          // VNC and D-Bus displays without GL crash QEMU together with this device.
          ...["-display", "none"],
        ];
  const serial = ["-device", "virtio-serial-pci,id=vsockenc-serial"];
  const chardevs = ports.flatMap((path, index) => [
    ...["-chardev", `socket,id=vsockenc-port${index},path=${quote(path)},${CHARDEV_OPTIONS[chardev]}`],
    "-device",
    `virtserialport,bus=vsockenc-serial.0,chardev=vsockenc-port${index},name=org.vsockenc.${index}`,
  ]);
  return [...gpu, ...serial, ...chardevs];
}

const MEMORY_BACKING = [
  "  <!-- The GPU process reads the guest's memory. -->",
  "  <memoryBacking>",
  "    <source type='memfd'/>",
  "    <access mode='shared'/>",
  "  </memoryBacking>",
];

function escapeXml(text: string): string {
  const entities: Readonly<Record<string, string>> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "'": "&apos;",
  };
  return text.replace(/[&<>']/g, (character) => entities[character] ?? character);
}

/**
 * A domain that can be defined, and from which its parts can be copied into another.
 *
 * The GPU is a chardev and a device on QEMU's command line, not libvirt's own <video> with a vhost-user driver. libvirt would
 * start that back end itself and pass nothing that identifies the VM, so no relay could find its export socket.
 */
export function libvirtXml(vm: HypervisorVm): string {
  const { name, gpuSocket, memoryMiB } = vm;
  const hasGpu = gpuSocket !== undefined;
  const gpu = gpuArguments(vm).map((word) => `    <qemu:arg value='${escapeXml(word)}'/>`);
  const lines = [
    "<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>",
    `  <name>${escapeXml(name)}</name>`,
    `  <memory unit='MiB'>${memoryMiB}</memory>`,
    ...(hasGpu ? MEMORY_BACKING : []),
    "  <os><type machine='q35'>hvm</type></os>",
    "  <devices>",
    "    <controller type='virtio-serial' index='0'/>",
    ...vm.ports.flatMap((path, index) => channel(path, index, vm.chardev)),
    ...(hasGpu ? ["    <!-- The GPU is below. -->", "    <video><model type='none'/></video>"] : []),
    "  </devices>",
    ...(hasGpu ? ["  <qemu:commandline>", ...gpu, "  </qemu:commandline>"] : []),
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
