/**
 * The viewer of the relay: guests' streams, which are encoded anyway, and the heads of VMs, which are encoded while somebody
 * watches them. Offers each to the browsers under an id: "desk/port0", "desk/head0", "desk/listen1.0", "listen0.2".
 */
import type { Logger } from "pino";
import type { Registry } from "prom-client";
import { type SourceOptions, ViewerServer, ViewerSourceError } from "../../viewer/server/viewer-server.ts";
import type { ViewerSource } from "../../viewer/source.ts";
import type { Configuration, VmConfiguration } from "../config.ts";
import type { EncoderBackend } from "../encoders/encoder.ts";
import { packageVersion } from "../package-root.ts";
import type { VmResources } from "../relay/resources.ts";
import type { StreamObserver } from "../relay/stream-observer.ts";
import { GuestStreamSource } from "./guest-stream-source.ts";
import { HeadsMetrics } from "./head-metrics.ts";
import { HeadSource } from "./head-source.ts";

export interface RelayViewerSetup {
  readonly options: Configuration["viewer"];
  /** Folder of the built page. */
  readonly page: string;
  readonly backend: EncoderBackend;
  readonly registry: Registry;
  readonly log: Logger;
}

export class RelayViewer {
  readonly #server: ViewerServer;
  readonly #backend: EncoderBackend;
  readonly #metrics: HeadsMetrics;
  readonly #log: Logger;
  /** Streams of clients of [[listen]], which come and go. */
  readonly #clients = new Set<string>();

  private constructor(server: ViewerServer, { backend, registry, log }: RelayViewerSetup) {
    this.#server = server;
    this.#backend = backend;
    this.#metrics = new HeadsMetrics(registry);
    this.#log = log;
  }

  /** @throws ViewerOptionsError */
  static async start(setup: RelayViewerSetup): Promise<RelayViewer> {
    const software = `vsockenc relay ${packageVersion}`;
    return new RelayViewer(await ViewerServer.start({ ...setup, software }), setup);
  }

  /** What to open in a browser, with the token. */
  get address(): string {
    return this.#server.address();
  }

  /** The stream of a VM's port, which is offered whether or not a guest sends one. */
  port(vm: string, index: number): StreamObserver {
    const source = new GuestStreamSource({ id: `${vm}/port${index}`, vm, title: `Port ${index}` });
    this.#offer(source);
    return source;
  }

  /**
   * The stream of a client of a [[listen]], offered as long as its session is open.
   *
   * @param vm "" where the listener belongs to none
   * @param name of the listener, for people
   */
  client(vm: string, listener: number, name: string): StreamObserver {
    const prefix = `${vm === "" ? "" : `${vm}/`}listen${listener}`;
    let place = 0;
    while (this.#clients.has(`${prefix}.${place}`)) place += 1;
    const id = `${prefix}.${place}`;
    this.#clients.add(id);
    const onEnd = (): void => {
      this.#clients.delete(id);
      this.#server.remove(id);
    };
    const source = new GuestStreamSource({ id, vm, title: `${name}, ${place}`, onEnd });
    this.#offer(source);
    return source;
  }

  /** The VM's heads, each as soon as its exporter has announced it. */
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

  /** One source too many must not cost the guests anything. */
  #offer(source: ViewerSource, options?: SourceOptions): void {
    try {
      this.#server.add(source, options);
    } catch (error) {
      if (!(error instanceof ViewerSourceError)) throw error;
      this.#log.warn({ reason: error.message }, "a source is not offered to viewers");
    }
  }
}
