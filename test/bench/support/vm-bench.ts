/**
 * The VM of the cases that run inside one: a guest whose own port has the relay with a real encoder, and two more
 * ports for round trips, one with a relay of the null encoder and one with a bare echo behind it.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Vm } from "../../vm/vm.ts";

export interface VmBenchOptions {
  readonly encoder: string;
  readonly say: (line: string) => void;
}

export class VmBench {
  readonly vm: Vm;
  /** Appears as /in and /out in the guest. */
  readonly inDir: string;
  readonly outDir: string;
  /** Sockets of the two further ports. */
  readonly relaySocket: string;
  readonly echoSocket: string;
  /** For sockets and files of the cases; gone after shutdown(). */
  readonly folder: string;

  private constructor(vm: Vm, folder: string) {
    this.vm = vm;
    this.folder = folder;
    this.inDir = join(folder, "in");
    this.outDir = join(folder, "out");
    this.relaySocket = join(folder, "relay");
    this.echoSocket = join(folder, "echo");
  }

  static async boot({ encoder, say }: VmBenchOptions): Promise<VmBench> {
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

  /** Runs a command in the guest that is to succeed, and gives what it printed. */
  async succeed(command: string): Promise<string> {
    const { status, stdout, stderr } = await this.vm.run(command);
    if (status !== 0) throw new Error(`${command}\nfailed with ${status}:\n${stdout}\n${stderr}`);
    return stdout;
  }

  async shutdown(): Promise<void> {
    await this.vm.shutdown();
    rmSync(this.folder, { recursive: true });
  }
}

/** Not one of the names that the element looks for. */
const portName = (name: string): string => `org.vsockenc.bench-${name}`;
