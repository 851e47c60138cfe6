/** Bridges and viewers that end with their test. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach } from "vitest";
import { type Bridge, startBridge } from "../../../../guest/bridge/bridge.ts";
import { bridgeConfiguration } from "../../../../guest/bridge/configuration.ts";
import { TestViewer } from "../../viewer/support/test-viewer.ts";

export interface RunningBridge {
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
