/**
 * The relay: for each VM of the configuration its links, and what serves their peers; the viewer, metrics and health of all
 * together.
 *
 * Only this file binds a link to its VM: a peer can use the resources of the VM at the other end of its link, and no others.
 */
import type { Logger } from "pino";
import { AggregatorRegistry } from "prom-client";
import { parseAddress } from "../../common/address.ts";
import { limitLines } from "../../common/log-limit.ts";
import { type Health, StatusServer } from "../../common/status-server.ts";
import { type Configuration, ConfigurationError, type VmConfiguration } from "../config.ts";
import type { EncoderBackend, EncoderOffer } from "../encoders/encoder.ts";
import { connectUnix } from "../native/listener.ts";
import { ChardevLink } from "./chardev-link.ts";
import type { Link } from "./connection.ts";
import { relayEncoders } from "./encoders.ts";
import { Listener, type ListenerOptions } from "./listener.ts";
import { RelayMetrics } from "./metrics.ts";
import type { OpenRelayViewer, RelayViewer, SourceOffers } from "./relay-viewer.ts";
import type { VmHost } from "./vm-host.ts";
import { VmServer } from "./vm-server.ts";

/** What a VM's server in another process needs. */
export interface IsolationParts {
  readonly configuration: Configuration;
  readonly vm: VmConfiguration | undefined;
  /** Names the server in logs. */
  readonly name: string;
  readonly offers: readonly EncoderOffer[];
  /** Undefined without a viewer. */
  readonly sources: SourceOffers | undefined;
  readonly log: Logger;
}

/** Serves the peers of a VM, or of a listener without one, in another process. */
export type Isolate = (parts: IsolationParts) => VmHost;

export class Relay {
  readonly #log: Logger;
  readonly #configuration: Configuration;
  readonly #backend: EncoderBackend;
  readonly #offers: readonly EncoderOffer[];
  readonly #isolate: Isolate | undefined;
  /** With the VM's name; "" for those of listeners without a VM. */
  readonly #hosts: { readonly vm: string; readonly host: VmHost }[] = [];
  readonly #links: { readonly vm: string; readonly link: Link }[] = [];
  readonly #metrics: RelayMetrics;
  #viewer: RelayViewer | undefined;
  #status: StatusServer | undefined;

  private constructor(
    configuration: Configuration,
    backend: EncoderBackend,
    offers: readonly EncoderOffer[],
    log: Logger,
    isolate: Isolate | undefined,
  ) {
    this.#configuration = configuration;
    this.#backend = backend;
    this.#offers = offers;
    this.#log = log;
    this.#isolate = isolate;
    this.#metrics = new RelayMetrics();
    this.#metrics.observe({
      exporters: () =>
        this.#hosts.flatMap(({ vm, host }) => {
          const up = host.exporterUp();
          return up === undefined ? [] : [{ vm, up }];
        }),
      links: () =>
        this.#links.map(({ vm, link }) => ({ vm, link: link.name, connections: link.connections })),
    });
  }

  /**
   * Probes the encoders and opens every link; links to VMs that are not running are retried for ever.
   *
   * @param openViewer opens the viewer of streams and heads, if there is one
   * @param isolate without it, this process serves all peers
   * @param backend by default those of the configuration
   * @throws EncoderUnavailableError if no configured encoder works on this machine
   * @throws SocketError if it cannot listen
   * @throws the errors of `openViewer`
   */
  static async start(
    configuration: Configuration,
    log: Logger,
    openViewer?: OpenRelayViewer,
    isolate?: Isolate,
    backend: EncoderBackend = relayEncoders(configuration.encoder, log),
  ): Promise<Relay> {
    const offers = await backend.offers();
    const relay = new Relay(configuration, backend, offers, log, isolate);
    log.info({ encoders: offers.map(({ name, codec }) => `${name} (${codec})`) }, "encoders");
    try {
      if (openViewer !== undefined) {
        relay.#viewer = await openViewer(relay.#metrics.registry, log);
        log.info({ address: relay.#viewer.address }, "viewer: open this address in a browser");
      }
      for (const vm of configuration.vm) await relay.#addVm(vm);
      for (const [index, listen] of configuration.listen.entries()) await relay.#addListener(listen, index);
    } catch (error) {
      relay.stop();
      throw error;
    }
    const { enabled, port } = configuration.status;
    if (enabled) {
      const metrics = () => relay.#reportMetrics();
      relay.#status = new StatusServer(port, metrics, () => relay.health(), log);
    }
    return relay;
  }

  /**
   * Whether the relay works. A VM that is not running is healthy; a running VM whose exporter does not answer is not.
   */
  health(): Health {
    const reasons = this.#hosts.flatMap(({ vm, host }) => {
      const connected = this.#links.some((entry) => entry.vm === vm && entry.link.connections > 0);
      const remedy = "check that `vsockenc gpu` runs for it";
      return host.exporterUp() !== false || !connected
        ? []
        : [`${vm} is connected, but its exporter does not answer: ${remedy}`];
    });
    return reasons.length === 0 ? { ok: true } : { ok: false, reasons };
  }

  /** Address of the viewer, with its token; undefined if it is not enabled. */
  get viewerAddress(): string | undefined {
    return this.#viewer?.address;
  }

  /** Says goodbye to every guest and viewer and closes everything. */
  stop(): void {
    this.#status?.close();
    void this.#viewer?.close();
    for (const { link } of this.#links) link.close();
    for (const { host } of this.#hosts) host.close();
  }

  async #addVm(vm: VmConfiguration): Promise<void> {
    const host = this.#host(vm, vm.name);
    for (const [index, path] of vm.ports.entries()) {
      const log = limitLines(this.#log.child({ vm: vm.name, port: index }));
      if (vm.chardev === "server") {
        const link = new ChardevLink(path, index, host, log);
        this.#links.push({ vm: vm.name, link });
        link.open();
      } else {
        const link = { kind: "port", index } as const;
        const address = { kind: "unix", path } as const;
        await this.#listen(vm.name, { address, users: vm.users, maxClients: 1, link, host }, log);
      }
    }
  }

  async #addListener(listen: Configuration["listen"][number], index: number): Promise<void> {
    const { address, vm, protocol, users, cid, max_clients } = listen;
    const parsed = parseAddress(address);
    if (parsed === undefined) throw new ConfigurationError(`invalid address ${address}`);
    if (parsed.kind === "tcp" && vm !== undefined) {
      this.#log.warn({ address, vm }, "every program on this machine can have this VM's pictures encoded");
    }
    const log = limitLines(this.#log.child(vm === undefined ? {} : { vm }));
    const bound = this.#hosts.find((entry) => vm !== undefined && entry.vm === vm)?.host;
    const host = bound ?? this.#host(undefined, `listen${index}`);
    const link = { kind: "listen", index, address, protocol } as const;
    await this.#listen(vm ?? "", { address: parsed, users, cid, maxClients: max_clients, link, host }, log);
  }

  async #listen(vm: string, options: ListenerOptions, log: Logger): Promise<void> {
    const listener = new Listener(options, log);
    this.#links.push({ vm, link: listener });
    await listener.open();
  }

  #host(vm: VmConfiguration | undefined, name: string): VmHost {
    const configuration = this.#configuration;
    const log = vm === undefined ? this.#log : this.#log.child({ vm: vm.name });
    const [offers, viewer] = [this.#offers, this.#viewer];
    let host: VmHost;
    if (this.#isolate !== undefined) {
      host = this.#isolate({ configuration, vm, name, offers, sources: viewer?.sources, log });
    } else {
      const [backend, metrics] = [this.#backend, this.#metrics];
      const path = vm?.export;
      // vm.max_map_count is the process's, so what is below it is divided: no VM can use up another's part.
      const servers =
        configuration.vm.length + configuration.listen.filter((one) => one.vm === undefined).length;
      const maxRuns = Math.floor(configuration.pictures.max_runs / servers);
      host = new VmServer({
        ...{ vm, backend, offers, maxRuns, metrics, log },
        viewer: viewer?.show({ backend, metrics, log: this.#log }),
        connectExporter: path === undefined ? undefined : () => connectUnix(path),
      });
    }
    this.#hosts.push({ vm: vm?.name ?? "", host });
    return host;
  }

  async #reportMetrics(): Promise<string> {
    const { process, registry } = this.#metrics;
    const reports = [registry.getMetricsAsJSON(), ...this.#hosts.map(({ host }) => host.metrics())];
    const all = AggregatorRegistry.aggregate(await Promise.all(reports));
    return `${await process.metrics()}${await all.metrics()}`;
  }
}
