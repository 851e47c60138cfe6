/** The installed `vsockenc relay` in its own process, with one listener of each kind. */
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";
import { temporaryFolder } from "../../support/folder.ts";
import { freePort } from "../../support/free-port.ts";
import { pageText } from "../../support/page-text.ts";
import { processTree, unlessEnded } from "../../support/process-tree.ts";
import { until } from "../../support/until.ts";
import { SupervisedProcess } from "../../vm/child.ts";
import type { Environment } from "./programs.ts";
import { ResourceMemory } from "./resource-memory.ts";

/** Differences from the default relay; `encoders` is its encoder.order. */
type RelayOptions = {
  readonly encoders?: readonly string[];
  readonly isolation?: "vm" | "none";
  readonly environment?: Environment;
};

export class TestRelay {
  /** UNIX listener without a VM: pixels are sent over the socket. */
  readonly inlineSocket: string;
  /** Has element-relay-test use the UNIX listener of a VM, whose resources are fake-gpu.c's memory. */
  readonly resources: Environment;
  /** TCP listener on 127.0.0.1, without a VM. */
  readonly tcpPort: number;
  readonly #statusPort: number;
  readonly #process: SupervisedProcess;
  readonly #memory: ResourceMemory;

  private constructor(folder: string, tcpPort: number, statusPort: number, options: RelayOptions) {
    const { encoders = ["libx264", "libx265"], isolation = "vm", environment = {} } = options;
    this.inlineSocket = join(folder, "inline.sock");
    const resourceSocket = join(folder, "resource.sock");
    const memorySocket = join(folder, "memory.sock");
    this.resources = { VSOCKENC_RELAY_SOCKET: resourceSocket, VSOCKENC_RELAY_MEMORY: memorySocket };
    this.tcpPort = tcpPort;
    this.#statusPort = statusPort;
    const exportPath = join(folder, "export.sock");
    const config = join(folder, "relay.toml");
    const settings = `
      encoder.order = ${JSON.stringify(encoders)}
      isolation = "${isolation}"
      status.port = ${statusPort}
      log.level = "debug"
      vm = [{ name = "vm", export = ${JSON.stringify(exportPath)} }]
      listen = [
        { address = ${JSON.stringify(`unix:${this.inlineSocket}`)} },
        { address = ${JSON.stringify(`unix:${resourceSocket}`)}, vm = "vm" },
        { address = "tcp:127.0.0.1:${tcpPort}" },
      ]`;
    writeFileSync(config, settings);
    this.#memory = new ResourceMemory(memorySocket, exportPath);
    const variables = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
    const main = join(packageRoot, "dist", "cli", "main.js");
    const command = ["env", ...variables, process.execPath, main, "relay", "--config", config];
    this.#process = new SupervisedProcess("vsockenc relay", command);
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
    return await pageText(`http://127.0.0.1:${this.#statusPort}/metrics`);
  }

  /** Waits until every guest has disconnected and its resources are released. */
  async idle(): Promise<void> {
    const inUse = /^vsockenc_(sessions|streams|buffers|link_connections)(\{.*\})? (?!0$)/m;
    await until(async () => !inUse.test(await this.metrics()), "a relay without sessions");
  }

  get pid(): number {
    const { pid } = this.#process;
    if (pid === undefined) throw new Error(`the relay has exited: ${this.log}`);
    return pid;
  }

  /** Number of open descriptors in its processes. */
  get descriptors(): number {
    return processTree(this.pid).flatMap((each) => unlessEnded(() => readdirSync(`/proc/${each}/fd`), []))
      .length;
  }

  async stop(): Promise<void> {
    await this.#process.stop();
    this.#memory.close();
  }
}

/** Starts a relay for all tests of the calling file, which may write into `folder`. */
export function shareRelay(): { readonly folder: string; readonly relay: TestRelay } {
  const folder = temporaryFolder();
  let running: TestRelay | undefined;
  beforeAll(async () => {
    running = await TestRelay.start(folder);
  });
  afterAll(() => running?.stop());
  return {
    folder,
    get relay(): TestRelay {
      if (running === undefined) throw new Error("the relay runs during tests, not during their collection");
      return running;
    },
  };
}
