/**
 * The relay's viewer for browsers: guests' streams, which are encoded anyway, and VMs' heads, which are encoded only while a
 * viewer watches. Each has an id: "desk/port0", "desk/head0", "desk/listen1.0", "listen0.2".
 */
import type { Logger } from "pino";
import { packageVersion } from "../../common/package-root.ts";
import { VIEWER_PAGE } from "../../viewer/server/http/page-files.ts";
import type { ViewerSource } from "../../viewer/server/source.ts";
import { type SourceOptions, ViewerServer, ViewerSourceError } from "../../viewer/server/viewer-server.ts";
import type { Configuration, VmConfiguration } from "../config.ts";
import type { EncoderBackend } from "../encoders/encoder.ts";
import type { VmResources } from "../export/vm-resources.ts";
import type { OpenRelayViewer, RelayViewer, RelayViewerParts } from "../relay/relay-viewer.ts";
import type { StreamObserver } from "../relay/stream-observer.ts";
import { GuestStreamSource } from "./guest-stream-source.ts";
import { HeadsMetrics } from "./head-metrics.ts";
import { HeadSource } from "./head-source.ts";

/**
 * The viewer of a configuration; undefined unless it is enabled. Opening it may fail with ViewerOptionsError.
 *
 * @param page folder of the built page
 */
export function viewerOf({ viewer }: Configuration, page: string = VIEWER_PAGE): OpenRelayViewer | undefined {
  if (!viewer.enabled) return undefined;
  return async (parts) => {
    const software = `vsockenc relay ${packageVersion}`;
    const { registry, log } = parts;
    return new BrowserViewer(
      await ViewerServer.start({ options: viewer, page, software, registry, log }),
      parts,
    );
  };
}

class BrowserViewer implements RelayViewer {
  readonly #server: ViewerServer;
  readonly #backend: EncoderBackend;
  readonly #metrics: HeadsMetrics;
  readonly #log: Logger;
  /** Ids of streams from clients of [[listen]]. */
  readonly #clients = new Set<string>();

  constructor(server: ViewerServer, { backend, registry, log }: RelayViewerParts) {
    this.#server = server;
    this.#backend = backend;
    this.#metrics = new HeadsMetrics(registry);
    this.#log = log;
  }

  get address(): string {
    return this.#server.address();
  }

  port(vm: string, index: number): StreamObserver {
    const source = new GuestStreamSource({ id: `${vm}/port${index}`, vm, title: `Port ${index}` });
    this.#offer(source);
    return source;
  }

  client(vm: string, listener: number, name: string): StreamObserver {
    const prefix = `${vm === "" ? "" : `${vm}/`}listen${listener}`;
    let slot = 0;
    while (this.#clients.has(`${prefix}.${slot}`)) slot += 1;
    const id = `${prefix}.${slot}`;
    this.#clients.add(id);
    const onEnd = (): void => {
      this.#clients.delete(id);
      this.#server.remove(id);
    };
    const source = new GuestStreamSource({ id, vm, title: `${name}, ${slot}`, onEnd });
    this.#offer(source);
    return source;
  }

  heads({ name, view }: VmConfiguration, resources: VmResources): void {
    if (!view.heads) return;
    const bitrate = { minKbps: view.min_kbps, maxKbps: view.max_kbps };
    const options = {
      heads: resources.heads,
      resources,
      backend: this.#backend,
      rate: view.rate,
      bitrateKbps: view.max_kbps,
      metrics: this.#metrics.forVm(name),
    };
    resources.heads.discover((head) => {
      const log = this.#log.child({ vm: name, head });
      this.#offer(new HeadSource(name, { ...options, head, log }), { bitrate });
    });
  }

  close(): Promise<void> {
    return this.#server.close();
  }

  /** Too many sources must not harm the guests. */
  #offer(source: ViewerSource, options?: SourceOptions): void {
    try {
      this.#server.add(source, options);
    } catch (error) {
      if (!(error instanceof ViewerSourceError)) throw error;
      this.#log.warn({ reason: error.message }, "cannot offer a source to viewers");
    }
  }
}
