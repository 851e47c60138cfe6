/** The installed `vsockenc relay` in its own process, with one listener of each kind. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";
import { freePort } from "../../support/free-port.ts";
import { until } from "../../support/until.ts";
import { SupervisedProcess } from "../../vm/child.ts";
import { ResourceMemory } from "./resource-memory.ts";

/** Differences from the default relay. */
export interface RelayOptions {
  /** Of encoder.order. */
  readonly encoders?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

export class TestRelay {
  /** UNIX listener without a VM: pixels are sent over the socket. */
  readonly inlineSocket: string;
  /** UNIX listener of the VM whose resources are those of `memorySocket`. */
  readonly resourceSocket: string;
  /** Where fake-gpu.c gets its memory. */
  readonly memorySocket: string;
  /** TCP listener on 127.0.0.1, without a VM. */
  readonly tcpPort: number;
  readonly #statusPort: number;
  readonly #process: SupervisedProcess;
  readonly #memory: ResourceMemory;

  private constructor(folder: string, tcpPort: number, statusPort: number, options: RelayOptions) {
    const { encoders = ["libx264", "libx265"], environment = {} } = options;
    this.inlineSocket = join(folder, "inline.sock");
    this.resourceSocket = join(folder, "resource.sock");
    this.memorySocket = join(folder, "memory.sock");
    this.tcpPort = tcpPort;
    this.#statusPort = statusPort;
    const exportPath = join(folder, "export.sock");
    const config = join(folder, "relay.toml");
    writeFileSync(
      config,
      [
        `encoder.order = ${JSON.stringify(encoders)}`,
        `status.port = ${statusPort}`,
        `log.level = "debug"`,
        "[[vm]]",
        'name = "vm"',
        `export = ${JSON.stringify(exportPath)}`,
        "[[listen]]",
        `address = ${JSON.stringify(`unix:${this.inlineSocket}`)}`,
        "[[listen]]",
        `address = ${JSON.stringify(`unix:${this.resourceSocket}`)}`,
        'vm = "vm"',
        "[[listen]]",
        `address = "tcp:127.0.0.1:${tcpPort}"`,
      ].join("\n"),
    );
    this.#memory = new ResourceMemory(this.memorySocket, exportPath);
    const main = join(packageRoot, "dist", "cli", "main.js");
    this.#process = new SupervisedProcess("vsockenc relay", [
      "env",
      ...Object.entries(environment).map(([name, value]) => `${name}=${value}`),
      process.execPath,
      main,
      "relay",
      "--config",
      config,
    ]);
  }

  /** @param folder for its sockets */
  static async start(folder: string, options: RelayOptions = {}): Promise<TestRelay> {
    const relay = new TestRelay(folder, await freePort(), await freePort(), options);
    relay.#process.start();
    const ready = async (): Promise<boolean> =>
      /^vsockenc_exporter_up\{.*\} 1$/m.test(await relay.metrics().catch(() => ""));
    await until(ready, "the relay's listeners and its exporter").catch((cause: unknown) => {
      throw new Error(`the relay did not start:\n${relay.log}`, { cause });
    });
    return relay;
  }

  /** Its log so far. */
  get log(): string {
    return this.#process.log;
  }

  /** Metrics of the status page, in Prometheus' text format. */
  async metrics(): Promise<string> {
    return await (await fetch(`http://127.0.0.1:${this.#statusPort}/metrics`)).text();
  }

  /** Sum of all series of a metric. */
  async metric(name: string): Promise<number> {
    const lines = (await this.metrics()).matchAll(new RegExp(`^vsockenc_${name}(?:\\{.*\\})? (\\S+)$`, "gm"));
    return [...lines].reduce((sum, [, value]) => sum + Number(value), 0);
  }

  /** Waits until every guest has disconnected and its resources are released. */
  async idle(): Promise<void> {
    const kept = ["sessions", "streams", "buffers", "link_connections"];
    const all = async (): Promise<number> =>
      (await Promise.all(kept.map((name) => this.metric(name)))).reduce((sum, value) => sum + value, 0);
    await until(async () => (await all()) === 0, `a relay without ${kept.join(", ")}`);
  }

  /** Number of open descriptors in its process. */
  get descriptors(): number {
    const { pid } = this.#process;
    if (pid === undefined) throw new Error(`the relay has exited: ${this.log}`);
    return readdirSync(`/proc/${pid}/fd`).length;
  }

  async stop(): Promise<void> {
    await this.#process.stop();
    this.#memory.close();
  }
}

/** Shared by all tests of a file. */
export interface SharedRelay {
  /** For files that the tests write. */
  readonly folder: string;
  /** From the first test to the last. */
  readonly relay: TestRelay;
}

/** Starts a relay for all tests of the calling file. */
export function shareRelay(): SharedRelay {
  const folder = mkdtempSync(join(tmpdir(), "vsockenc-relay-"));
  let running: TestRelay | undefined;
  beforeAll(async () => {
    running = await TestRelay.start(folder);
  });
  afterAll(async () => {
    await running?.stop();
    rmSync(folder, { recursive: true });
  });
  return {
    folder,
    get relay(): TestRelay {
      if (running === undefined) throw new Error("the relay runs during tests, not during their collection");
      return running;
    },
  };
}
