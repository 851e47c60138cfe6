/**
 * The VM of the cases inside one: the guest's port leads to a relay with a real encoder; two further ports are for round
 * trips, one with a null-encoder relay, one with a bare echo.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Vm } from "../../vm/vm.ts";

export type VmBench = Awaited<ReturnType<typeof bootVmBench>>;

/** The further ports: names that the element does not use. */
const portName = (name: "relay" | "echo"): string => `org.vsockenc.bench-${name}`;

export async function bootVmBench(encoder: string, log: (line: string) => void) {
  const folder = mkdtempSync(join(tmpdir(), "vsockenc-bench-vm-"));
  const inFolder = (name: string): string => join(folder, name);
  const directories = { inDir: inFolder("in"), outDir: inFolder("out") };
  for (const directory of Object.values(directories)) mkdirSync(directory);
  const relayConfig = inFolder("relay.toml");
  writeFileSync(relayConfig, `[log]\nlevel = "warn"\n[encoder]\norder = [${JSON.stringify(encoder)}]\n`);
  const port = (name: "relay" | "echo"): string[] => [
    ...["-chardev", `socket,id=${name},path=${inFolder(name)},server=on,wait=off`],
    ...["-device", `virtserialport,chardev=${name},name=${portName(name)}`],
  ];
  const qemuArgs = [...port("relay"), ...port("echo")];
  const vm = await Vm.boot({ ...directories, countPort: true, relayConfig, qemuArgs, log });
  return {
    vm,
    /** For sockets and files of the cases; inDir and outDir, in it, appear as /in and /out in the guest. */
    folder,
    ...directories,
    /** QEMU's socket of a further port. */
    socket: inFolder,
    /** The same port in the guest. */
    device: (name: "relay" | "echo"): string => `/dev/virtio-ports/${portName(name)}`,
    shutdown: async (): Promise<void> => {
      await vm.shutdown();
      rmSync(folder, { recursive: true });
    },
  };
}
