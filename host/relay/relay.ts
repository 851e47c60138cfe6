/**
 * The relay: for each VM of the configuration its ports' links, the sessions on them, and its exporter.
 *
 * Only this file binds a port to its VM: a session can use the resources of the VM at the other end of its link, and no
 * others.
 */
import { randomInt } from "node:crypto";
import type { Logger } from "pino";
import { parseAddress } from "../../common/address.ts";
import { packageVersion } from "../../common/package-root.ts";
import { type Health, StatusServer } from "../../common/status-server.ts";
import { LIMITS } from "../../proto/limits.ts";
import { type Configuration, ConfigurationError, type VmConfiguration } from "../config.ts";
import type { EncoderBackend, EncoderOffer } from "../encoders/encoder.ts";
import { createBackend } from "../encoders/index.ts";
import { VmResources } from "../export/vm-resources.ts";
import { setRunBudget } from "../native/picture.ts";
import { ChardevLink } from "./chardev-link.ts";
import type { Link, LinkServer } from "./connection.ts";
import { HxfrServer } from "./hxfr-session.ts";
import { Listener, type ListenerOptions } from "./listener.ts";
import { RelayMetrics } from "./metrics.ts";
import type { OpenRelayViewer, RelayViewer, StreamObserver } from "./relay-viewer.ts";
import { offerBody } from "./requests.ts";
import { type SessionOutput, SessionServer } from "./session.ts";
import { Stream } from "./stream.ts";

export class Relay {
  readonly #log: Logger;
  readonly #backend: EncoderBackend;
  readonly #offers: readonly EncoderOffer[];
  readonly #hostBootId = randomInt(1, 0xffffffff);
  /** By name of the VM; only VMs with an exporter. */
  readonly #resources = new Map<string, VmResources>();
  readonly #links: { readonly vm: string; readonly link: Link }[] = [];
  readonly #metrics: RelayMetrics;
  #viewer: RelayViewer | undefined;
  #status: StatusServer | undefined;

  private constructor(backend: EncoderBackend, offers: readonly EncoderOffer[], log: Logger) {
    this.#backend = backend;
    this.#offers = offers;
    this.#log = log;
    this.#metrics = new RelayMetrics({
      exporters: () => [...this.#resources].map(([vm, { available }]) => ({ vm, up: available })),
      links: () =>
        this.#links.map(({ vm, link }) => ({ vm, link: link.name, connections: link.connections })),
    });
  }

  /**
   * Probes the encoders and opens every link; links to VMs that are not running are retried for ever.
   *
   * @param openViewer opens the viewer of streams and heads, if there is one
   * @throws EncoderUnavailableError if no configured encoder works on this machine
   * @throws SocketError if it cannot listen
   * @throws the errors of `openViewer`
   */
  static async start(
    configuration: Configuration,
    log: Logger,
    openViewer?: OpenRelayViewer,
  ): Promise<Relay> {
    setRunBudget(configuration.pictures.max_runs);
    const backend = createBackend(configuration.encoder.order, {
      onUnavailable: (encoder, reason) => log.info({ encoder, reason }, "encoder unavailable"),
    });
    const offers = await backend.offers();
    const relay = new Relay(backend, offers, log);
    log.info({ encoders: offers.map(({ name, codec }) => `${name} (${codec})`) }, "encoders");
    try {
      if (openViewer !== undefined) {
        relay.#viewer = await openViewer({ backend, metrics: relay.#metrics, log });
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
      relay.#status = new StatusServer(port, relay.#metrics.registry, () => relay.health(), log);
    }
    return relay;
  }

  /**
   * Whether the relay works. A VM that is not running is healthy; a running VM whose exporter does not answer is not.
   */
  health(): Health {
    const reasons = [...this.#resources].flatMap(([vm, { available }]) => {
      const connected = this.#links.some((entry) => entry.vm === vm && entry.link.connections > 0);
      const remedy = "check that `vsockenc gpu` runs for it";
      return available || !connected
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
    for (const resources of this.#resources.values()) resources.close();
  }

  async #addVm(vm: VmConfiguration): Promise<void> {
    if (vm.export !== undefined) {
      const resources = new VmResources(vm.export, this.#log);
      this.#resources.set(vm.name, resources);
      this.#viewer?.heads(vm, resources);
      resources.open();
    }
    for (const [index, path] of vm.ports.entries()) {
      const log = this.#log.child({ vm: vm.name, port: index });
      const observer = this.#viewer?.port(vm.name, index);
      const serve = (clientLog: Logger): SessionServer => this.#serve(vm.name, () => observer, clientLog);
      if (vm.chardev === "server") {
        const link = new ChardevLink(path, serve(log), log);
        this.#links.push({ vm: vm.name, link });
        link.open();
      } else {
        // A chardev stays connected while its VM runs, whether or not a guest has opened the port.
        const limits = { users: vm.users, maxClients: 1, closeIdle: false, protocol: "vsockenc" } as const;
        await this.#listen(vm.name, { address: { kind: "unix", path }, ...limits, serve }, log);
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
    const log = vm === undefined ? this.#log : this.#log.child({ vm });
    const observe = () => this.#viewer?.client(vm ?? "", index, address);
    const serve = (clientLog: Logger): LinkServer =>
      protocol === "hxfr"
        ? new HxfrServer(this.#streams(vm, observe, clientLog))
        : this.#serve(vm, observe, clientLog);
    const limits = { users, cid, protocol, maxClients: max_clients, closeIdle: true };
    await this.#listen(vm, { address: parsed, ...limits, serve }, log);
  }

  async #listen(vm: string | undefined, options: ListenerOptions, log: Logger): Promise<void> {
    const listener = new Listener(options, log);
    this.#links.push({ vm: vm ?? "", link: listener });
    await listener.open();
  }

  /**
   * Opens streams with access to the resources of one VM, or of none.
   *
   * @param observe gives the observer of each session
   */
  #streams(vm: string | undefined, observe: () => StreamObserver | undefined, log: Logger) {
    const resources = vm === undefined ? undefined : this.#resources.get(vm);
    const metrics = this.#metrics.forVm(vm ?? "");
    return {
      open: (output: SessionOutput) =>
        new Stream(output, { backend: this.#backend, resources, metrics, observer: observe(), log }),
      meter: metrics,
      log,
    };
  }

  /** Serves sessions of our own protocol; the parameters are those of #streams. */
  #serve(vm: string | undefined, observe: () => StreamObserver | undefined, log: Logger): SessionServer {
    const resources = vm === undefined ? undefined : this.#resources.get(vm);
    return new SessionServer({
      hostBootId: this.#hostBootId,
      welcome: () => ({
        maxAttached: LIMITS.MAX_ATTACHED_BUFFERS,
        maxInFlight: LIMITS.MAX_IN_FLIGHT_FRAMES,
        resources: resources?.available ?? false,
        software: `vsockenc ${packageVersion}`,
        encoders: this.#offers.slice(0, LIMITS.MAX_ENCODER_OFFERS).map(offerBody),
      }),
      ...this.#streams(vm, observe, log),
    });
  }
}
