/** Bridges, their viewers and their relay, which end with their test. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach } from "vitest";
import { type Bridge, startBridge } from "../../../../guest/bridge/bridge.ts";
import { bridgeConfiguration } from "../../../../guest/bridge/configuration.ts";
import { freePort } from "../../../support/free-port.ts";
import { pageText } from "../../../support/page-text.ts";
import { MAIN } from "../../../support/program.ts";
import { until } from "../../../support/until.ts";
import { SupervisedProcess } from "../../../vm/child.ts";
import { TestViewer } from "../../viewer/support/test-viewer.ts";

interface RunningBridge {
  readonly bridge: Bridge;
  /** Lines of the log, as JSON. */
  readonly log: readonly string[];
  /** A viewer that watches the screen. */
  watch(): Promise<TestViewer>;
}

/** For a describe block. @param toml lines of a configuration file */
export function bridges(): (toml: string) => Promise<RunningBridge> {
  const endings: (() => void | Promise<void>)[] = [];
  afterEach(async () => {
    for (const end of endings.splice(0).reverse()) await end();
  });
  return async (toml) => {
    const folder = mkdtempSync(join(tmpdir(), "vsockenc-bridge-"));
    endings.push(() => rmSync(folder, { recursive: true }));
    writeFileSync(join(folder, "index.html"), "<!doctype html><title>page</title>");
    const file = join(folder, "bridge.toml");
    writeFileSync(file, `viewer.port = 0\nstatus.enabled = false\n${toml}`);
    const log: string[] = [];
    const logger = pino({ level: "debug" }, { write: (line) => void log.push(line) });
    const bridge = await startBridge(bridgeConfiguration(file), logger, folder);
    endings.push(() => bridge.close());
    const watch = async (): Promise<TestViewer> => {
      const viewer = await TestViewer.connect(bridge.addresses()[0] ?? "");
      endings.push(() => viewer.socket.terminate());
      viewer.watch("screen");
      return viewer;
    };
    return { bridge, log, watch };
  };
}

/** `vsockenc relay` in a process of its own, with one UNIX listener, which a test can stop and start. */
export async function startBridgeRelay(folder: string) {
  const socket = join(folder, "relay.sock");
  const status = await freePort();
  const config = join(folder, "relay.toml");
  const settings = `encoder.order = ["libx264"]\nlog.level = "debug"\nstatus.port = ${status}`;
  writeFileSync(config, `${settings}\n[[listen]]\naddress = ${JSON.stringify(`unix:${socket}`)}`);
  const relay = new SupervisedProcess("vsockenc relay", [
    process.execPath,
    MAIN,
    "relay",
    "--config",
    config,
  ]);
  const metrics = (): Promise<string> => pageText(`http://127.0.0.1:${status}/metrics`);
  const start = async (): Promise<void> => {
    relay.start();
    await until(async () => (await metrics().catch(() => "")) !== "", "the relay's metrics");
  };
  const sessions = async (): Promise<number> => {
    const [, count] = /^vsockenc_sessions(?:\{.*\})? (\d+)$/m.exec(await metrics()) ?? [];
    if (count === undefined) throw new Error("the relay has no metric of its sessions");
    return Number(count);
  };
  await start();
  return { socket, start, sessions, stop: () => relay.stop() };
}
