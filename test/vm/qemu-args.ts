/** QEMU's command line for a test guest, as a pure function. */

/**
 * Ours; ours by `vsockenc run`, which adds all that has to do with it; QEMU's own; QEMU's own that renders, by OpenGL or by
 * OpenGL ES.
 */
export const GPU_KINDS = ["vsockenc", "run", "stock", "gl", "gles", "none"] as const;
export type GpuKind = (typeof GPU_KINDS)[number];

/** Whether the GPU renders: its exporter is then a library in QEMU, which needs a window system. */
export function isGl(gpu: GpuKind): boolean {
  return gpu === "gl" || gpu === "gles";
}

const VSOCKENC_PORT = "org.vsockenc.0";
const AGENT_PORT = "org.vsockenc.agent";

/** A TCP port of 127.0.0.1 on the host that leads to one of the guest. */
export interface ForwardedPort {
  readonly host: number;
  readonly guest: number;
}

export interface QemuLayout {
  accelerator: "kvm" | "tcg";
  memoryMiB: number;
  gpu: GpuKind;
  heads: number;
  /** WIDTHxHEIGHT of the first output. */
  mode: string | undefined;
  kernel: string;
  initrd: string;
  rootDisk: string;
  payloadDisk: string | undefined;
  /** The machine's own folder; files in it: STATE_FILES. */
  stateDir: string;
  /** Host folders shown to the guest. */
  inDir: string | undefined;
  outDir: string | undefined;
  /** None: the guest has no network at all. */
  forward: readonly ForwardedPort[];
  /** More of the guest kernel's messages on the serial console. */
  verboseKernel: boolean;
  /** More of its command line. */
  kernelArgs: readonly string[];
  extra: readonly string[];
}

/** In a machine's state folder: a share, UNIX sockets, of which QEMU creates all but vgpu, and the console's log. */
export const STATE_FILES = {
  control: "control",
  qmp: "qmp.sock",
  agent: "agent.sock",
  port: "port0.sock",
  vgpu: "vgpu.sock",
  serial: "serial.log",
} as const;

/** A value inside one of QEMU's comma-separated options. */
function quoted(value: string): string {
  return value.replaceAll(",", ",,");
}

/** Mostly skips work of the guest's kernel, which every test would wait for under TCG. */
function kernelCommandLine(verbose: boolean, more: readonly string[]): string {
  return [
    "console=ttyS0",
    verbose ? "loglevel=7" : "quiet loglevel=4",
    "rdinit=/init",
    "oops=panic", // report crashes in drivers under test
    "mitigations=off",
    "nokaslr",
    "no_timer_check",
    "tsc=reliable",
    "random.trust_cpu=on",
    "rcupdate.rcu_expedited=1",
    "cryptomgr.notests",
    "8250.nr_uarts=1",
    "audit=0",
    "apparmor=0",
    ...more,
  ].join(" ");
}

function share(tag: string, directory: string, readOnly: boolean): string[] {
  // "none": files belong to the user who runs QEMU; a guest's chown that fails is ignored.
  const mode = `security_model=none,multidevs=remap${readOnly ? ",readonly=on" : ""}`;
  const fileSystem = `local,id=${tag},path=${quoted(directory)},${mode}`;
  return ["-fsdev", fileSystem, "-device", `virtio-9p-pci,fsdev=${tag},mount_tag=${tag}`];
}

function disk(id: string, file: string, readOnly: boolean): string[] {
  // snapshot=on: writes go to a throw-away file, so guests can share the image.
  const mode = readOnly ? "readonly=on" : "snapshot=on,cache=unsafe";
  const drive = `if=none,id=${id},format=raw,file=${quoted(file)},${mode}`;
  return ["-drive", drive, "-device", `virtio-blk-pci,drive=${id}`];
}

function serverSocket(id: string, path: string): string[] {
  return ["-chardev", `socket,id=${id},path=${quoted(path)},server=on,wait=off`];
}

function gpuDevice({ gpu, heads, mode }: QemuLayout, socket: string): string[] {
  if (gpu === "none" || gpu === "run") return [];
  const [width, height] = mode?.split("x") ?? [];
  const shape = `max_outputs=${heads}${mode === undefined ? "" : `,xres=${width},yres=${height}`}`;
  if (gpu === "stock") return ["-device", `virtio-gpu-pci,${shape}`];
  if (isGl(gpu)) return ["-device", `virtio-gpu-gl-pci,${shape}`];
  const chardev = ["-chardev", `socket,id=vgpu,path=${quoted(socket)}`];
  return [...chardev, "-device", `vhost-user-gpu-pci,chardev=vgpu,max_outputs=${heads}`];
}

/** QEMU has a GL context only with a display of its own. */
function display(gpu: GpuKind): string {
  if (!isGl(gpu)) return "none";
  return gpu === "gles" ? "sdl,gl=es" : "sdl,gl=on";
}

/** QEMU's user network for one guest: forwarded ports lead in, nothing leads out. */
function network(ports: readonly ForwardedPort[]): string[] {
  if (ports.length === 0) return [];
  const forwards = ports.map(({ host, guest }) => `,hostfwd=tcp:127.0.0.1:${host}-:${guest}`);
  return [
    ...["-netdev", `user,id=net,restrict=on,ipv6=off${forwards.join("")}`],
    // No ROM: nothing boots from the network.
    ...["-device", "virtio-net-pci,netdev=net,romfile="],
  ];
}

function machine({ gpu, memoryMiB }: QemuLayout): string[] {
  const kind = "q35,vmport=off,smm=off";
  if (gpu === "run") return ["-machine", kind];
  // Shared memory with a descriptor, for vhost-user devices.
  const memory = ["-object", `memory-backend-memfd,id=mem,size=${memoryMiB}M,share=on`];
  return [...memory, "-machine", `${kind},memory-backend=mem`];
}

function port(socket: string): string[] {
  const device = `virtserialport,chardev=vport0,name=${VSOCKENC_PORT},id=port0`;
  return [...serverSocket("vport0", socket), "-device", device];
}

/** The arguments after the program's name. */
export function qemuArguments(layout: QemuLayout): string[] {
  const state = (name: keyof typeof STATE_FILES): string => `${layout.stateDir}/${STATE_FILES[name]}`;
  return [
    ...["-name", "vsockenc-test", "-nodefaults", "-no-user-config"],
    ...(layout.gpu === "run" ? [] : ["-display", display(layout.gpu)]),
    ...["-accel", layout.accelerator],
    // A plain CPU is a little faster to emulate than -cpu max.
    ...["-cpu", layout.accelerator === "kvm" ? "host" : "Nehalem"],
    ...["-smp", "2", "-m", `${layout.memoryMiB}M`],
    ...machine(layout),
    ...["-kernel", layout.kernel, "-initrd", layout.initrd],
    ...["-append", kernelCommandLine(layout.verboseKernel, layout.kernelArgs)],
    ...["-serial", `file:${state("serial")}`],
    ...["-qmp", `unix:${quoted(state("qmp"))},server=on,wait=off`],
    ...disk("root", layout.rootDisk, false),
    ...(layout.payloadDisk === undefined ? [] : disk("payload", layout.payloadDisk, true)),
    ...["-device", "virtio-rng-pci"],
    ...["-device", "virtio-serial-pci"],
    ...serverSocket("agent", state("agent")),
    ...["-device", `virtserialport,chardev=agent,name=${AGENT_PORT}`],
    ...(layout.gpu === "run" ? [] : port(state("port"))),
    ...share("vsockenc-control", state("control"), false),
    ...(layout.inDir === undefined ? [] : share("vsockenc-in", layout.inDir, true)),
    ...(layout.outDir === undefined ? [] : share("vsockenc-out", layout.outDir, false)),
    ...gpuDevice(layout, state("vgpu")),
    ...network(layout.forward),
    ...layout.extra,
  ];
}
