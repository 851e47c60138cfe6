/** Servers and viewers for tests, closed after each test. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Logger, pino } from "pino";
import { Registry } from "prom-client";
import { afterEach, onTestFinished, vi } from "vitest";
import type { vsockenc } from "../../../../proto/protobuf.ts";
import { parseViewerOptions } from "../../../../viewer/server/options.ts";
import { type SourceOptions, ViewerServer } from "../../../../viewer/server/viewer-server.ts";
import { until } from "../../../support/until.ts";
import { TestSource, type TestSourceOptions } from "./test-source.ts";
import { TestViewer } from "./test-viewer.ts";

type Options = Parameters<typeof parseViewerOptions>[0];

/** Stops performance.now, by which rates are limited, for the rest of the test. */
export function stopClock(): void {
  const { mockRestore } = vi.spyOn(performance, "now").mockReturnValue(performance.now());
  onTestFinished(mockRestore);
}

/** Sets performance.now forward, for the rest of the test: what waits is that much older. */
export function advanceClock(ms: number): void {
  const now = performance.now.bind(performance);
  const { mockRestore } = vi.spyOn(performance, "now").mockImplementation(() => now() + ms);
  onTestFinished(mockRestore);
}

export interface Served {
  readonly server: ViewerServer;
  readonly address: string;
  readonly registry: Registry;
  connect(codecs?: vsockenc.Codec[]): Promise<TestViewer>;
}

export interface Watched extends Served {
  readonly source: TestSource;
  readonly viewer: TestViewer;
  /** A second viewer of the source, where the test asks for two. */
  readonly other: TestViewer;
}

export interface Serve {
  /** @param prepare adds files to the page's folder, which has an index.html */
  (options?: Options, log?: Logger, prepare?: (folder: string) => void): Promise<Served>;
  /** A server with one running source, and one or two viewers that watch it. */
  watched(options?: TestSourceOptions & SourceOptions, viewers?: 1 | 2): Promise<Watched>;
  /** A server with sources of these options. */
  sources(...options: readonly TestSourceOptions[]): Promise<Served & { readonly sources: TestSource[] }>;
}

/** For a describe block: everything that a test starts is closed after it. */
export function servers(): Serve {
  const endings: (() => void | Promise<void>)[] = [];
  afterEach(async () => {
    for (const end of endings.splice(0).reverse()) await end();
  });
  const serve = async (
    options: Options = {},
    log = pino({ level: "silent" }),
    prepare?: (folder: string) => void,
  ): Promise<Served> => {
    const page = mkdtempSync(join(tmpdir(), "vsockenc-page-"));
    endings.push(() => rmSync(page, { recursive: true }));
    writeFileSync(join(page, "index.html"), "<!doctype html>page");
    prepare?.(page);
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
    return { server, address, registry, connect };
  };
  const watched = async (options: TestSourceOptions & SourceOptions = {}, viewers = 1): Promise<Watched> => {
    const served = await serve();
    const source = new TestSource(options);
    served.server.add(source, options);
    const viewer = await served.connect();
    const other = viewers === 1 ? viewer : await served.connect();
    for (const one of new Set([viewer, other])) one.watch(source.id);
    await until(() => source.running, "the start");
    return { ...served, source, viewer, other };
  };
  const sources: Serve["sources"] = async (...options) => {
    const served = await serve();
    const added = options.map((one) => new TestSource(one));
    for (const source of added) served.server.add(source);
    return { ...served, sources: added };
  };
  return Object.assign(serve, { watched, sources });
}
