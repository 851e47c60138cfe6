/** A relay with some VMs, for what happens to them. Each port is one to which "QEMU" connects, i.e. the element does. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { packageRoot } from "../../../common/package-root.ts";
import { freePort } from "../../support/free-port.ts";
import { pageText } from "../../support/page-text.ts";
import { until } from "../../support/until.ts";
import { SupervisedProcess } from "../../vm/child.ts";

const MAIN = join(packageRoot, "dist", "cli", "main.js");

/** A command of ours in a process of its own, not yet started. */
export function program(...args: readonly string[]): SupervisedProcess {
  return new SupervisedProcess(`vsockenc ${args[0]}`, [process.execPath, MAIN, ...args]);
}

export class FaultRig {
  readonly folder: string;
  readonly relay: SupervisedProcess;
  /** Of the VMs `vm0`, `vm1`, … */
  readonly ports: readonly string[];
  /** Of a VM whose relay connects to `port`, with a GPU process at `socket` and `export`. */
  readonly gpu: { readonly port: string; readonly socket: string; readonly export: string };
  /** A listener without a VM. */
  readonly listener: string;
  readonly viewer: string;

  private constructor(folder: string, vms: number, encoder: string, viewerPort: number) {
    this.folder = folder;
    this.ports = Array.from({ length: vms }, (_, index) => this.at(`port${index}`));
    this.gpu = { port: this.at("gpu-port"), socket: this.at("gpu"), export: this.at("export") };
    this.listener = this.at("listener");
    const token = "fault-bench-token-1";
    this.viewer = `http://127.0.0.1:${viewerPort}/?token=${token}`;
    const text = JSON.stringify;
    const own = this.ports.map(
      (port, index) => `{ name = "vm${index}", chardev = "client", ports = [${text(port)}] }`,
    );
    const withGpu = `{ name = "gpu", ports = [${text(this.gpu.port)}], export = ${text(this.gpu.export)} }`;
    const config = this.at("relay.toml");
    writeFileSync(
      config,
      `encoder.order = [${text(encoder)}]
status.enabled = false
viewer = { enabled = true, port = ${viewerPort}, token = "${token}" }
vm = [${[...own, withGpu].join(", ")}]
listen = [{ address = ${text(`unix:${this.listener}`)} }]
`,
    );
    this.relay = program("relay", "--config", config);
  }

  /** Runs `body` with a relay of its own. */
  static async with<T>(encoder: string, vms: number, body: (rig: FaultRig) => Promise<T>): Promise<T> {
    const folder = mkdtempSync(join(tmpdir(), "vsockenc-faults-"));
    const rig = new FaultRig(folder, vms, encoder, await freePort());
    rig.relay.start();
    try {
      const served = async (): Promise<boolean> =>
        (await pageText(rig.viewer).catch(() => "")).includes("<html");
      await until(async () => !rig.relay.alive || (await served()), "the viewer's page");
      if (!rig.relay.alive) await rig.relay.failure();
      return await body(rig);
    } finally {
      await rig.relay.stop();
      rmSync(folder, { recursive: true });
    }
  }

  at(name: string): string {
    return join(this.folder, name);
  }

  get pid(): number {
    if (this.relay.pid === undefined) throw new Error(`the relay has ended: ${this.relay.log}`);
    return this.relay.pid;
  }

  /** The process id of a VM's newest worker. */
  worker(vm: string): number {
    const started = this.relay.log
      .split("\n")
      .filter((line) => line.includes('"msg":"worker started"') && line.includes(`"vm":"${vm}"`));
    const pid = Number(/"pid":(\d+)/.exec(started.at(-1) ?? "")?.[1]);
    if (Number.isNaN(pid)) throw new Error(`${vm} has no worker: ${this.relay.log}`);
    return pid;
  }
}
