/** `vsockenc relay` in a process of its own, with one UNIX listener, which a test can stop and start. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../../../common/package-root.ts";
import { freePort } from "../../../support/free-port.ts";
import { until } from "../../../support/until.ts";
import { SupervisedProcess } from "../../../vm/child.ts";

export class BridgeRelay {
  readonly socket: string;
  readonly #statusPort: number;
  readonly #process: SupervisedProcess;

  private constructor(folder: string, statusPort: number) {
    this.socket = join(folder, "relay.sock");
    this.#statusPort = statusPort;
    const config = join(folder, "relay.toml");
    const lines = [
      'encoder.order = ["libx264"]',
      `status.port = ${statusPort}`,
      'log.level = "debug"',
      "[[listen]]",
      `address = ${JSON.stringify(`unix:${this.socket}`)}`,
    ];
    writeFileSync(config, lines.join("\n"));
    const main = join(packageRoot, "dist", "cli", "main.js");
    const command = [process.execPath, main, "relay", "--config", config];
    this.#process = new SupervisedProcess("vsockenc relay", command);
  }

  static async start(folder: string): Promise<BridgeRelay> {
    const relay = new BridgeRelay(folder, await freePort());
    await relay.start();
    return relay;
  }

  async start(): Promise<void> {
    this.#process.start();
    await until(async () => (await this.#metrics().catch(() => "")) !== "", "the relay's metrics");
  }

  stop(): Promise<unknown> {
    return this.#process.stop();
  }

  async sessions(): Promise<number> {
    const [, count] = /^vsockenc_sessions(?:\{.*\})? (\d+)$/m.exec(await this.#metrics()) ?? [];
    if (count === undefined) throw new Error("the relay has no metric of its sessions");
    return Number(count);
  }

  async #metrics(): Promise<string> {
    return await (await fetch(`http://127.0.0.1:${this.#statusPort}/metrics`)).text();
  }
}
