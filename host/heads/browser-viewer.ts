/**
 * The relay's viewer for browsers: guests' streams, which are encoded anyway, and VMs' heads, which are encoded only while a
 * viewer watches. Each has an id: "desk/port0", "desk/head0", "desk/listen1.0", "listen0.2".
 */
import { packageVersion } from "../../common/package-root.ts";
import { VIEWER_PAGE } from "../../viewer/server/http/page-files.ts";
import type { ViewerSource } from "../../viewer/server/source.ts";
import { type SourceOptions, ViewerServer, ViewerSourceError } from "../../viewer/server/viewer-server.ts";
import type { Configuration, VmConfiguration } from "../config.ts";
import type { VmResources } from "../export/vm-resources.ts";
import type {
  OpenRelayViewer,
  RelayViewer,
  RelayViewerParts,
  StreamObserver,
} from "../relay/relay-viewer.ts";
import { GuestStreamSource } from "./guest-stream-source.ts";
import { HeadSource } from "./head-run.ts";

/**
 * The viewer of a configuration; undefined unless it is enabled. Opening it may fail with ViewerOptionsError.
 *
 * @param page folder of the built page
 */
export function viewerOf({ viewer }: Configuration, page: string = VIEWER_PAGE): OpenRelayViewer | undefined {
  if (!viewer.enabled) return undefined;
  return async (parts) => {
    const software = `vsockenc relay ${packageVersion}`;
    const options = { options: viewer, page, software, registry: parts.metrics.registry, log: parts.log };
    return new BrowserViewer(await ViewerServer.start(options), parts);
  };
}

class BrowserViewer implements RelayViewer {
  readonly #server: ViewerServer;
  readonly #parts: RelayViewerParts;
  /** Ids of streams from clients of [[listen]]. */
  readonly #clients = new Set<string>();

  constructor(server: ViewerServer, parts: RelayViewerParts) {
    this.#server = server;
    this.#parts = parts;
  }

  get address(): string {
    return this.#server.address();
  }

  port(vm: string, index: number): StreamObserver {
    const source = new GuestStreamSource(`${vm}/port${index}`, vm, `Port ${index}`);
    this.#offer(source);
    return source;
  }

  client(vm: string, listener: number, name: string): StreamObserver {
    const prefix = `${vm === "" ? "" : `${vm}/`}listen${listener}`;
    let slot = 0;
    while (this.#clients.has(`${prefix}.${slot}`)) slot += 1;
    const id = `${prefix}.${slot}`;
    this.#clients.add(id);
    const source = new GuestStreamSource(id, vm, `${name}, ${slot}`, () => {
      this.#clients.delete(id);
      this.#server.remove(id);
    });
    this.#offer(source);
    return source;
  }

  heads({ name, view }: VmConfiguration, resources: VmResources): void {
    if (!view.heads) return;
    const bitrate = { minKbps: view.min_kbps, maxKbps: view.max_kbps };
    const { backend, log } = this.#parts;
    const metrics = this.#parts.metrics.headsOf(name);
    const options = { resources, backend, rate: view.rate, bitrateKbps: view.max_kbps, metrics };
    resources.heads.discover((head) => {
      const headLog = log.child({ vm: name, head });
      const source = new HeadSource(name, { ...options, heads: resources.heads, head, log: headLog });
      this.#offer(source, { bitrate });
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
      this.#parts.log.warn({ reason: error.message }, "cannot offer a source to viewers");
    }
  }
}
