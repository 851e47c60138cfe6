/**
 * The relay: a part for each VM of the configuration (relay-part.ts), and the viewer, metrics and health of all together.
 *
 * The configuration may change while it runs: parts that it no longer has are closed, new ones are opened, and the others,
 * with their sessions, do not notice.
 */
import { isDeepStrictEqual } from "node:util";
import type { Logger } from "pino";
import { AggregatorRegistry } from "prom-client";
import { type Health, StatusServer } from "../../common/status-server.ts";
import { type Configuration, ConfigurationError, type VmConfiguration } from "../config.ts";
import type { EncoderBackend, EncoderOffer } from "../encoders/encoder.ts";
import { connectUnix } from "../native/listener.ts";
import type { Link } from "./connection.ts";
import { relayEncoders } from "./encoders.ts";
import { RelayMetrics } from "./metrics.ts";
import { type PartConfiguration, partsOf, RelayPart } from "./relay-part.ts";
import type { OpenRelayViewer, RelayViewer, SourceOffers } from "./relay-viewer.ts";
import type { VmHost } from "./vm-host.ts";
import { VmServer } from "./vm-server.ts";
import { VM_LOOK_MS, type VmState } from "./vm-state.ts";

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

/** What is read once, at the start. */
const FIXED = ["log", "encoder", "isolation", "limits", "pictures", "status", "viewer", "control"] as const;

/** A VM, as the relay sees it. */
export interface RelayVm {
  readonly name: string;
  readonly state: VmState;
  /** What is wrong, and what to do about it. */
  readonly fault: string | undefined;
  readonly links: readonly Link[];
}

/** What a change of the configuration has done. */
export interface Applied {
  /** Names of parts: "vm NAME" or "listen ADDRESS"; a changed one is in both. */
  readonly closed: readonly string[];
  readonly opened: readonly string[];
  /** Changed tables that count at the relay's next start. */
  readonly later: readonly string[];
}

export class Relay {
  readonly #log: Logger;
  readonly #backend: EncoderBackend;
  readonly #offers: readonly EncoderOffer[];
  readonly #isolate: Isolate | undefined;
  readonly #parts = new Map<string, RelayPart>();
  readonly #metrics: RelayMetrics;
  /** Addresses of listeners, at their numbers: sources of viewers are named by these, so they stay while a listener does. */
  readonly #listeners: (string | undefined)[];
  #configuration: Configuration;
  #applying: Promise<unknown> = Promise.resolve();
  #viewer: RelayViewer | undefined;
  #status: StatusServer | undefined;
  #looks: NodeJS.Timeout | undefined;
  #stopped = false;

  private constructor(
    configuration: Configuration,
    backend: EncoderBackend,
    offers: readonly EncoderOffer[],
    log: Logger,
    isolate: Isolate | undefined,
  ) {
    this.#configuration = configuration;
    this.#listeners = configuration.listen.map(({ address }) => address);
    this.#backend = backend;
    this.#offers = offers;
    this.#log = log;
    this.#isolate = isolate;
    this.#metrics = new RelayMetrics();
    const parts = (): RelayPart[] => [...this.#parts.values()];
    this.#metrics.observe({
      exporters: () =>
        parts().flatMap(({ vm, host }) => {
          const up = host.exporterUp();
          return up === undefined ? [] : [{ vm, up }];
        }),
      vms: () =>
        parts().flatMap(({ vm, watch }) => (watch === undefined ? [] : [{ vm, state: watch.state }])),
      links: () =>
        parts().flatMap(({ vm, links }) =>
          links.map(({ name, connections }) => ({ vm, link: name, connections })),
        ),
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
      }
      for (const [key, part] of partsOf(configuration)) await relay.#open(key, part);
    } catch (error) {
      relay.stop();
      throw error;
    }
    relay.#looks = setInterval(() => {
      for (const part of relay.#parts.values()) part.look();
    }, VM_LOOK_MS).unref();
    const { enabled, port } = configuration.status;
    if (enabled) {
      const metrics = () => relay.#reportMetrics();
      relay.#status = new StatusServer(port, metrics, () => relay.health(), log);
    }
    return relay;
  }

  /**
   * Changes to another configuration: all of it, or nothing if a part cannot be opened.
   *
   * @throws ConfigurationError, SocketError: nothing has changed then
   */
  apply(configuration: Configuration): Promise<Applied> {
    const applied = this.#applying.then(() => this.#apply(configuration));
    this.#applying = applied.catch(() => undefined);
    return applied;
  }

  /**
   * Whether the relay works. A VM that is not running is healthy; one that runs without its GPU is not.
   */
  health(): Health {
    const reasons = [...this.#parts.values()].flatMap(({ watch }) => watch?.fault ?? []);
    return reasons.length === 0 ? { ok: true } : { ok: false, reasons };
  }

  /** The VMs, in the order of the configuration. */
  vms(): RelayVm[] {
    return [...this.#parts.values()].flatMap(({ vm, watch, links }) =>
      watch === undefined ? [] : [{ name: vm, state: watch.state, fault: watch.fault, links }],
    );
  }

  /** Address of the viewer, with its token; undefined if it is not enabled, or its port is taken. */
  get viewerAddress(): string | undefined {
    return this.#viewer?.address();
  }

  /** Says goodbye to every guest and viewer and closes everything. */
  stop(): void {
    this.#stopped = true;
    clearInterval(this.#looks);
    this.#status?.close();
    void this.#viewer?.close();
    for (const key of [...this.#parts.keys()]) this.#close(key);
  }

  async #apply(configuration: Configuration): Promise<Applied> {
    const before = this.#configuration;
    const [old, wanted] = [partsOf(before), partsOf(configuration)];
    const isSame = (key: string): boolean => isDeepStrictEqual(old.get(key), wanted.get(key));
    const closed = [...old.keys()].filter((key) => !isSame(key));
    const opened = [...wanted.keys()].filter((key) => !isSame(key));
    const later = FIXED.filter((table) => !isDeepStrictEqual(before[table], configuration[table]));
    if (this.#isolate === undefined && closed.length + opened.length > 0) {
      throw new ConfigurationError(
        'with isolation = "none", VMs share limits that are divided at the start: restart the relay',
      );
    }
    for (const key of closed) this.#close(key);
    this.#numberListeners(configuration);
    try {
      await this.#openAll(wanted, opened);
    } catch (error) {
      for (const key of opened) this.#close(key);
      this.#numberListeners(before);
      await this.#openAll(old, closed);
      throw error;
    }
    this.#configuration = { ...before, vm: configuration.vm, listen: configuration.listen };
    return { closed, opened, later };
  }

  async #openAll(parts: ReadonlyMap<string, PartConfiguration>, keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      const part = parts.get(key);
      if (part !== undefined && !this.#stopped) await this.#open(key, part);
    }
  }

  async #open(key: string, configuration: PartConfiguration): Promise<void> {
    const numberOf = (address: string): number => this.#listeners.indexOf(address);
    const part = new RelayPart(configuration, this.#host(configuration), numberOf, this.#log);
    this.#parts.set(key, part);
    await part.open();
  }

  #numberListeners({ listen }: Configuration): void {
    const addresses = listen.map(({ address }) => address);
    for (const [number, address] of this.#listeners.entries()) {
      if (address !== undefined && !addresses.includes(address)) this.#listeners[number] = undefined;
    }
    for (const address of addresses) {
      if (this.#listeners.includes(address)) continue;
      const free = this.#listeners.indexOf(undefined);
      this.#listeners[free < 0 ? this.#listeners.length : free] = address;
    }
  }

  #close(key: string): void {
    this.#parts.get(key)?.close();
    this.#parts.delete(key);
  }

  #host({ vm, listeners }: PartConfiguration): VmHost {
    const configuration = this.#configuration;
    const log = vm === undefined ? this.#log : this.#log.child({ vm: vm.name });
    const [offers, viewer] = [this.#offers, this.#viewer];
    if (this.#isolate !== undefined) {
      const name = vm?.name ?? `listen${this.#listeners.indexOf(listeners[0]?.address)}`;
      return this.#isolate({ configuration, vm, name, offers, sources: viewer?.sources, log });
    }
    const [backend, metrics] = [this.#backend, this.#metrics];
    const path = vm?.export;
    // vm.max_map_count is the process's, so what is below it is divided: no VM can use up another's part.
    const maxRuns = Math.floor(configuration.pictures.max_runs / partsOf(configuration).size);
    return new VmServer({
      ...{ vm, backend, offers, maxRuns, metrics, log },
      viewer: viewer?.show({ backend, metrics, log: this.#log }),
      connectExporter: path === undefined ? undefined : () => connectUnix(path),
    });
  }

  async #reportMetrics(): Promise<string> {
    const { process, registry } = this.#metrics;
    const hosts = [...this.#parts.values()].map(({ host }) => host.metrics());
    const all = AggregatorRegistry.aggregate(await Promise.all([registry.getMetricsAsJSON(), ...hosts]));
    return `${await process.metrics()}${await all.metrics()}`;
  }
}
