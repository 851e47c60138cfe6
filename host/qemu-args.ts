/** The QEMU arguments that a VM needs: shared memory, the vhost-user GPU, and the ports. */

export interface QemuVm {
  /** Socket of `vsockenc gpu`; without it, the VM gets only ports. */
  readonly gpuSocket: string | undefined;
  readonly heads: number;
  /** Chardev sockets for org.vsockenc.0, .1, … */
  readonly ports: readonly string[];
  /** Whether QEMU listens on them or connects to them. */
  readonly chardev: "server" | "client";
  /** Guest memory in MiB; must equal the VM's -m. */
  readonly memoryMiB: number;
  /** QEMU's object for shared memory. */
  readonly memoryBackend: MemoryBackend;
}

/** memfd on Linux; shm (QEMU 9.1), POSIX shared memory, on other systems, where it is always shared. */
export type MemoryBackend = "memfd" | "shm";
export const MEMORY_BACKENDS: readonly MemoryBackend[] = ["memfd", "shm"];

const MEMORY_OPTIONS = { memfd: ",share=on", shm: "" } as const satisfies Record<MemoryBackend, string>;

const CHARDEV_OPTIONS = { server: "server=on,wait=off", client: "server=off,reconnect-ms=500" } as const;

/** A comma in a value ends it, unless it is doubled (QEMU's manual, "Options"). */
function quote(value: string): string {
  return value.replaceAll(",", ",,");
}

/** The GPU's chardev and device; empty if the VM has none. */
export function gpuArguments({ gpuSocket, heads }: Pick<QemuVm, "gpuSocket" | "heads">): string[] {
  if (gpuSocket === undefined) return [];
  return [
    ...["-chardev", `socket,id=vsockenc-gpu,path=${quote(gpuSocket)}`],
    ...["-device", `vhost-user-gpu-pci,chardev=vsockenc-gpu,max_outputs=${heads}`],
  ];
}

/** Arguments to add to a VM's command line, one array element each. */
export function qemuArguments(vm: QemuVm): string[] {
  const { gpuSocket, ports, chardev, memoryMiB, memoryBackend } = vm;
  const memory = `id=vsockenc-mem,size=${memoryMiB}M${MEMORY_OPTIONS[memoryBackend]}`;
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
    ...[
      "-device",
      `virtserialport,bus=vsockenc-serial.0,chardev=vsockenc-port${index},name=org.vsockenc.${index}`,
    ],
  ]);
  return [...gpu, ...serial, ...chardevs];
}
