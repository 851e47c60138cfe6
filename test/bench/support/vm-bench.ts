/**
 * The VM of the cases inside one: the guest's port leads to a relay with a real encoder; two further ports are for round
 * trips, one with a null-encoder relay, one with a bare echo.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Vm } from "../../vm/vm.ts";

export class VmBench {
  readonly vm: Vm;
  /** Appears as /in and /out in the guest. */
  readonly inDir: string;
  readonly outDir: string;
  /** Sockets of the two further ports. */
  readonly relaySocket: string;
  readonly echoSocket: string;
  /** For sockets and files of the cases; removed by shutdown(). */
  readonly folder: string;

  private constructor(vm: Vm, folder: string) {
    this.vm = vm;
    this.folder = folder;
    this.inDir = join(folder, "in");
    this.outDir = join(folder, "out");
    this.relaySocket = join(folder, "relay");
    this.echoSocket = join(folder, "echo");
  }

  static async boot(encoder: string, say: (line: string) => void): Promise<VmBench> {
    const folder = mkdtempSync(join(tmpdir(), "vsockenc-bench-vm-"));
    for (const name of ["in", "out"]) mkdirSync(join(folder, name));
    const relayConfig = join(folder, "relay.toml");
    writeFileSync(relayConfig, `[log]\nlevel = "warn"\n[encoder]\norder = [${JSON.stringify(encoder)}]\n`);
    const port = (name: string): string[] => [
      ...["-chardev", `socket,id=${name},path=${join(folder, name)},server=on,wait=off`],
      ...["-device", `virtserialport,chardev=${name},name=${portName(name)}`],
    ];
    const directories = { inDir: join(folder, "in"), outDir: join(folder, "out") };
    const qemuArgs = [...port("relay"), ...port("echo")];
    const vm = await Vm.boot({ ...directories, countPort: true, relayConfig, qemuArgs, log: say });
    return new VmBench(vm, folder);
  }

  /** Of the guest: a path below /dev/virtio-ports. */
  static device(name: "relay" | "echo"): string {
    return `/dev/virtio-ports/${portName(name)}`;
  }

  async shutdown(): Promise<void> {
    await this.vm.shutdown();
    rmSync(this.folder, { recursive: true });
  }
}

/** A name that the element does not use. */
const portName = (name: string): string => `org.vsockenc.bench-${name}`;
