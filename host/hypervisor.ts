/**
 * What a VM needs of its hypervisor: shared memory, a GPU with an exporter and the ports, as arguments of QEMU or as a domain
 * of libvirt.
 */
import type { DisplayMode } from "./gpu/display-mode.ts";

/** `vsockenc gpu`. */
export interface VhostUserGpu {
  readonly kind: "vhost-user";
  /** Where it listens for QEMU. */
  readonly socket: string;
  readonly heads: number;
}

/** QEMU's own virtio-gpu-gl. Its exporter is a library in QEMU's process, configured by environment variables. */
export interface QemuGlGpu {
  readonly kind: "qemu-gl";
  /** Absolute path of libvsockenc-virgl.so, without spaces and colons: LD_PRELOAD takes both as separators. */
  readonly library: string;
  readonly exportSocket: string;
  /** User ids that may connect to it, besides QEMU's own and root. */
  readonly exportUsers: readonly number[];
  readonly heads: number;
  readonly mode: DisplayMode;
  /** Whether the guest gets Vulkan. */
  readonly venus: boolean;
}

export interface HypervisorVm {
  readonly name: string;
  /** Undefined: the VM gets only ports. */
  readonly gpu: VhostUserGpu | QemuGlGpu | undefined;
  /** Chardev sockets for org.vsockenc.0, .1, … */
  readonly ports: readonly string[];
  /** Whether QEMU listens on them or connects to them. */
  readonly chardev: "server" | "client";
  /** Guest memory in MiB; must equal the VM's -m. */
  readonly memoryMiB: number;
}

/** What a command line has already. */
export interface ExistingArguments {
  readonly sharesMemory: boolean;
  readonly hasGlDisplay: boolean;
}

/** memfd on Linux; shm (QEMU 9.1), POSIX shared memory, on other systems, where it is always shared. */
export const MEMORY_BACKENDS = ["memfd", "shm"] as const;
export type MemoryBackend = (typeof MEMORY_BACKENDS)[number];

/** QEMU's displays that give virtio-gpu-gl a GL context. The first needs a render node, the others a window system. */
export const GL_DISPLAYS = ["egl-headless", "sdl", "gtk"] as const;
export type GlDisplay = (typeof GL_DISPLAYS)[number];

/** What depends on the machine that runs QEMU. */
export interface HypervisorHost {
  readonly memoryBackend: MemoryBackend;
  readonly glDisplay: GlDisplay;
}

const CHARDEV_OPTIONS = { server: "server=on,wait=off", client: "server=off,reconnect-ms=500" } as const;

/** A comma in a value ends it, unless it is doubled (QEMU's manual, "Options"). */
function quote(value: string): string {
  return value.replaceAll(",", ",,");
}

/** The GPU's chardev and device. */
function vhostUserArguments({ socket, heads }: VhostUserGpu): string[] {
  return [
    ...["-chardev", `socket,id=vsockenc-gpu,path=${quote(socket)}`],
    ...["-device", `vhost-user-gpu-pci,chardev=vsockenc-gpu,max_outputs=${heads}`],
  ];
}

/** Host memory for blobs that the guest maps: the GPU's PCI window, not memory that is in use. */
const HOSTMEM = "256M";

function glArguments({ heads, mode, venus }: QemuGlGpu, display: GlDisplay | undefined): string[] {
  const shape = `max_outputs=${heads},xres=${mode.width},yres=${mode.height}`;
  const vulkan = venus ? `,blob=on,venus=on,hostmem=${HOSTMEM}` : "";
  return [
    ...["-device", `virtio-gpu-gl-pci,${shape}${vulkan}`],
    ...(display === undefined ? [] : ["-display", display === "egl-headless" ? display : `${display},gl=on`]),
  ];
}

function gpuArguments(gpu: VhostUserGpu | QemuGlGpu, display: GlDisplay | undefined): string[] {
  // Otherwise QEMU adds its default VGA, and the guest has two GPUs.
  const alone = ["-vga", "none"];
  if (gpu.kind === "qemu-gl") return [...alone, ...glArguments(gpu, display)];
  // VNC and D-Bus displays without GL crash QEMU together with this device.
  return [...alone, ...vhostUserArguments(gpu), "-display", "none"];
}

/** Variables of QEMU's environment, by name; none for a GPU process, which has options instead. */
export function qemuEnvironment({ gpu }: HypervisorVm): Readonly<Record<string, string>> {
  if (gpu?.kind !== "qemu-gl") return {};
  const { library, exportSocket, exportUsers } = gpu;
  return {
    LD_PRELOAD: library,
    VSOCKENC_EXPORT: exportSocket,
    ...(exportUsers.length > 0 ? { VSOCKENC_EXPORT_USERS: exportUsers.join(",") } : {}),
  };
}

/**
 * Arguments to add to a VM's command line, one array element each.
 *
 * @param existing by default nothing
 */
export function qemuArguments(
  vm: HypervisorVm,
  { memoryBackend, glDisplay }: HypervisorHost,
  existing: ExistingArguments = { sharesMemory: false, hasGlDisplay: false },
): string[] {
  const { gpu: device, ports, chardev, memoryMiB } = vm;
  const share = memoryBackend === "memfd" ? ",share=on" : "";
  const memory = `id=vsockenc-mem,size=${memoryMiB}M${share}`;
  const shared = [
    ...["-m", `${memoryMiB}M`],
    ...["-object", `memory-backend-${memoryBackend},${memory}`],
    ...["-machine", "memory-backend=vsockenc-mem"],
  ];
  const gpu =
    device === undefined
      ? []
      : [
          ...(existing.sharesMemory ? [] : shared),
          ...gpuArguments(device, existing.hasGlDisplay ? undefined : glDisplay),
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
  "  <!-- The exporter shares the guest's memory with the relay. -->",
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

/** Elements of a domain that a GPU needs, each with its lines. */
function gpuElements(vm: HypervisorVm): { readonly devices: string[]; readonly commandLine: string[] } {
  const { gpu } = vm;
  if (gpu === undefined) return { devices: [], commandLine: [] };
  if (gpu.kind === "vhost-user") {
    return {
      devices: ["    <!-- The GPU is below. -->", "    <video><model type='none'/></video>"],
      commandLine: vhostUserArguments(gpu).map((word) => `    <qemu:arg value='${escapeXml(word)}'/>`),
    };
  }
  const { heads, mode } = gpu;
  return {
    devices: [
      "    <!-- GL without a window, on the first render node. VNC may be added. -->",
      "    <graphics type='egl-headless'/>",
      "    <video>",
      `      <model type='virtio' heads='${heads}' primary='yes'>`,
      "        <acceleration accel3d='yes'/>",
      `        <resolution x='${mode.width}' y='${mode.height}'/>`,
      "      </model>",
      "    </video>",
    ],
    commandLine: Object.entries(qemuEnvironment(vm)).map(
      ([name, value]) => `    <qemu:env name='${name}' value='${escapeXml(value)}'/>`,
    ),
  };
}

/**
 * A domain that can be defined, and from which its parts can be copied into another.
 *
 * A vhost-user GPU is a chardev and a device on QEMU's command line, not libvirt's own <video> with a vhost-user driver.
 * libvirt would start that back end itself and pass nothing that identifies the VM, so no relay could find its export socket.
 *
 * Vulkan is not expressed: libvirt's XML has no such attribute, and its default sandbox (spawn=deny) keeps virglrenderer from
 * starting its render server.
 */
export function libvirtXml(vm: HypervisorVm): string {
  const { name, memoryMiB } = vm;
  const { devices, commandLine } = gpuElements(vm);
  const lines = [
    "<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>",
    `  <name>${escapeXml(name)}</name>`,
    `  <memory unit='MiB'>${memoryMiB}</memory>`,
    ...(vm.gpu === undefined ? [] : MEMORY_BACKING),
    "  <os><type machine='q35'>hvm</type></os>",
    "  <devices>",
    "    <controller type='virtio-serial' index='0'/>",
    ...vm.ports.flatMap((path, index) => channel(path, index, vm.chardev)),
    ...devices,
    "  </devices>",
    ...(commandLine.length > 0 ? ["  <qemu:commandline>", ...commandLine, "  </qemu:commandline>"] : []),
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
