/**
 * `vsockenc host` as built, with three VMs: an honest one, whose guest and exporter are in this process, a hostile one, whose
 * are in an attacker's, and another of the attacker's with a GPU process.
 *
 * Host, honest guest and attacker are in sessions of their own, as they are in production: a kernel with autogroups shares the
 * processors between them.
 */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { packageRoot } from "../../../common/package-root.ts";
import { freePort } from "../../support/free-port.ts";
import { MemfdExporter } from "../../support/memfd/memfd-exporter.ts";
import { pageText } from "../../support/page-text.ts";
import { processTree } from "../../support/process-tree.ts";
import { until } from "../../support/until.ts";
import { SupervisedProcess } from "../../vm/child.ts";
import type { Attack } from "../hostile/attacks.ts";
import { SIZE, type Target } from "../hostile/target.ts";
import { BenchGuest } from "./guest.ts";
import { scrollingText } from "./pixels.ts";
import { privateMemory } from "./processes.ts";
import { pictureMemory } from "./rig.ts";

const ATTACKER = join(packageRoot, "test", "bench", "hostile", "attacker.ts");
const PORTS = [0, 1, 2, 3];
/** Pictures in rotation. */
const PICTURES = 8;
const SAMPLE_MS = 250;

/** Creates the pictures of a stream. @returns their ids */
export function draw(exporter: MemfdExporter): number[] {
  return [...scrollingText(SIZE.width, SIZE.height, PICTURES)].map((page, index) => {
    exporter.create(index + 1, SIZE);
    exporter.write(index + 1, page);
    return index + 1;
  });
}

/** The most that the host's processes had while something ran. */
export interface Usage {
  readonly processes: number;
  readonly threads: number;
  /** Private memory of all, in bytes. */
  readonly memory: number;
}

export class HostileRig {
  readonly folder: string;
  readonly target: Target;
  readonly host: SupervisedProcess;
  readonly #exporter: MemfdExporter;
  /** Of the honest guest. */
  readonly pictures: readonly number[];
  readonly guest: BenchGuest;

  private constructor(folder: string, encoder: string, viewerPort: number, statusPort: number) {
    const at = (name: string): string => join(folder, name);
    this.folder = folder;
    const token = "hostile-bench-token";
    this.target = {
      ports: PORTS.map((port) => at(`hostile${port}`)),
      ...{ export: at("hostile-export"), listen: at("listen"), hxfr: at("hxfr"), gpu: at("gpu") },
      viewer: `http://127.0.0.1:${viewerPort}/?token=${token}`,
      statusPort,
    };
    const { ports, listen, hxfr, gpu } = this.target;
    const config = at("host.toml");
    const text = JSON.stringify;
    writeFileSync(
      config,
      `encoder.order = [${text(encoder)}]
status.port = ${statusPort}
viewer = { enabled = true, port = ${viewerPort}, token = "${token}" }
vm = [
  { name = "honest", ports = [${text(at("honest"))}], export = ${text(at("honest-export"))} },
  { name = "hostile", ports = ${text(ports)}, export = ${text(this.target.export)} },
  { name = "driver", ports = [${text(at("driver"))}], export = ${text(at("driver-export"))}, gpu = { socket = ${text(gpu)} } },
]
listen = [
  { address = ${text(`unix:${listen}`)}, vm = "hostile", max_clients = 64 },
  { address = ${text(`unix:${hxfr}`)}, vm = "hostile", protocol = "hxfr" },
]
`,
    );
    const path = at("honest-export");
    this.#exporter = new MemfdExporter({ path, bytes: pictureMemory(SIZE) }, pino({ level: "silent" }));
    this.pictures = draw(this.#exporter);
    this.guest = new BenchGuest(at("honest"));
    const main = join(packageRoot, "dist", "cli", "main.js");
    // The end of this process is one that it survives to end its own.
    const words = ["setpriv", "--pdeathsig", "TERM", "--", "setsid"];
    const command = [...words, process.execPath, main, "host", "--config", config];
    this.host = new SupervisedProcess("vsockenc host", command);
  }

  /** Runs `body` with a rig of its own. */
  static async with<T>(encoder: string, body: (rig: HostileRig) => Promise<T>): Promise<T> {
    const folder = mkdtempSync(join(tmpdir(), "vsockenc-hostile-"));
    const rig = new HostileRig(folder, encoder, await freePort(), await freePort());
    rig.host.start();
    try {
      await until(async () => !rig.host.alive || (await rig.pageServed()), "the viewer's page");
      if (!rig.host.alive) await rig.host.failure();
      return await body(rig);
    } finally {
      rig.guest.close();
      await rig.host.stop();
      rig.#exporter.close();
      rmSync(folder, { recursive: true });
    }
  }

  get pid(): number {
    if (this.host.pid === undefined) throw new Error(`vsockenc host has ended: ${this.host.log}`);
    return this.host.pid;
  }

  async pageServed(): Promise<boolean> {
    return (await pageText(this.target.viewer).catch(() => "")).includes("<html");
  }

  /** Removes what the last attacker has left where the next one listens. */
  clear(): void {
    for (const path of [...this.target.ports, this.target.export]) rmSync(path, { force: true });
  }

  /** Runs `body` during an attack. @returns also what the attacker has sent and received */
  async during<T>({ name, logUnread }: Attack, body: () => Promise<T>) {
    const program = [process.execPath, "--import", "tsx", ATTACKER, name, JSON.stringify(this.target)];
    const attacker = new SupervisedProcess(`attacker ${name}`, ["setsid", ...program]);
    this.clear();
    attacker.start();
    try {
      await until(() => /^attacking$/m.test(attacker.log) || !attacker.alive, `the attack ${name}`);
      if (!attacker.alive) await attacker.failure();
      if (logUnread === true) this.host.pauseOutput();
      const result = await body();
      attacker.kill("SIGTERM");
      // On a busy machine it is seldom its turn.
      await until(() => /^sent .*\n/m.test(attacker.log) || !attacker.alive, "the attacker's report");
      await attacker.stop();
      const [, bytes, answers] = /^sent (\d+) (\d+)$/m.exec(attacker.log) ?? [];
      if (bytes === undefined) throw new Error(`the attacker did not report: ${attacker.log}`);
      const trouble = /^attacker: .*$/m.exec(attacker.log)?.[0];
      if (trouble !== undefined) console.error(`[bench] ${name}: ${trouble}`);
      return { result, tally: { bytes: Number(bytes), answers: Number(answers) } };
    } finally {
      this.host.resumeOutput();
      await attacker.stop();
    }
  }

  /** Watches the host's processes while `body` runs. */
  async watched<T>(body: () => Promise<T>): Promise<{ readonly result: T; readonly usage: Usage }> {
    const most = { processes: 0, threads: 0, memory: 0 };
    const sample = (): void => {
      try {
        const tree = processTree(this.pid);
        const threads = tree.reduce((sum, each) => sum + readdirSync(`/proc/${each}/task`).length, 0);
        most.processes = Math.max(most.processes, tree.length);
        most.threads = Math.max(most.threads, threads);
        most.memory = Math.max(most.memory, privateMemory(this.pid));
      } catch {
        // A process ended meanwhile; the next sample has the others.
      }
    };
    sample();
    const timer = setInterval(sample, SAMPLE_MS);
    try {
      return { result: await body(), usage: most };
    } finally {
      clearInterval(timer);
    }
  }
}
