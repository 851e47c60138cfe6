/** Servers and viewers of a test, which end with it. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Logger, pino } from "pino";
import { Registry } from "prom-client";
import { afterEach } from "vitest";
import type { vsockenc } from "../../../../proto/protobuf.ts";
import { parseViewerOptions } from "../../../../viewer/server/options.ts";
import { ViewerServer } from "../../../../viewer/server/viewer-server.ts";
import { TestViewer } from "./test-viewer.ts";

type Options = Parameters<typeof parseViewerOptions>[0];

export interface Served {
  readonly server: ViewerServer;
  readonly address: string;
  readonly registry: Registry;
  /** Folder of the page. */
  readonly page: string;
  connect(codecs?: vsockenc.Codec[]): Promise<TestViewer>;
}

/** For a describe block: what is started in a test is closed after it. */
export function servers(): (options?: Options, log?: Logger) => Promise<Served> {
  const endings: (() => void | Promise<void>)[] = [];
  afterEach(async () => {
    for (const end of endings.splice(0).reverse()) await end();
  });
  return async (options = {}, log = pino({ level: "silent" })) => {
    const page = mkdtempSync(join(tmpdir(), "vsockenc-page-"));
    endings.push(() => rmSync(page, { recursive: true }));
    writeFileSync(join(page, "index.html"), "<!doctype html><title>page</title>");
    const registry = new Registry();
    const checked = parseViewerOptions({ port: 0, ...options });
    const server = await ViewerServer.start({ options: checked, page, software: "test 1", registry, log });
    endings.push(() => server.close());
    const address = server.address();
    const connect = async (codecs?: vsockenc.Codec[]): Promise<TestViewer> => {
      const viewer = await TestViewer.connect(address, codecs);
      endings.push(() => viewer.socket.terminate());
      return viewer;
    };
    return { server, address, registry, page, connect };
  };
}
