/**
 * What of a relay serves one VM: the links to its peers and what is behind them; or one listener that belongs to no VM.
 *
 * Only this file binds a link to its VM: a peer can use the resources of the VM at the other end of its link, and no others.
 * Parts come and go with the configuration, each without touching another.
 */
import type { Logger } from "pino";
import { parseAddress } from "../../common/address.ts";
import { limitLines } from "../../common/log-limit.ts";
import { type Configuration, ConfigurationError, type VmConfiguration } from "../config.ts";
import { ChardevLink } from "./chardev-link.ts";
import type { Link } from "./connection.ts";
import { Listener } from "./listener.ts";
import type { VmHost } from "./vm-host.ts";
import { VmWatch } from "./vm-state.ts";

type ListenConfiguration = Configuration["listen"][number];

/** The configuration of a part. */
export interface PartConfiguration {
  readonly vm: VmConfiguration | undefined;
  /** Those that name the VM; of a part without a VM, exactly one. */
  readonly listeners: readonly ListenConfiguration[];
}

/** The parts of a configuration by what names them: equal names with equal contents need not be touched. */
export function partsOf(configuration: Configuration): Map<string, PartConfiguration> {
  const parts = new Map<string, PartConfiguration>();
  for (const vm of configuration.vm) {
    const listeners = configuration.listen.filter((listen) => listen.vm === vm.name);
    parts.set(`vm ${vm.name}`, { vm, listeners });
  }
  for (const listen of configuration.listen) {
    if (listen.vm === undefined)
      parts.set(`listen ${listen.address}`, { vm: undefined, listeners: [listen] });
  }
  return parts;
}

export class RelayPart {
  readonly configuration: PartConfiguration;
  readonly host: VmHost;
  readonly links: Link[] = [];
  /** Undefined without a VM. */
  readonly watch: VmWatch | undefined;
  readonly #ports: Link[] = [];
  readonly #numberOf: (address: string) => number;
  readonly #log: Logger;

  /**
   * @param host takes the peers; this class closes it
   * @param numberOf numbers listeners by their addresses
   */
  constructor(
    configuration: PartConfiguration,
    host: VmHost,
    numberOf: (address: string) => number,
    log: Logger,
  ) {
    this.configuration = configuration;
    this.watch = configuration.vm === undefined ? undefined : new VmWatch(configuration.vm);
    this.host = host;
    this.#numberOf = numberOf;
    this.#log = log;
  }

  /** Name of the VM; "" without one. */
  get vm(): string {
    return this.configuration.vm?.name ?? "";
  }

  /** Looks at the VM; to be called once in VM_LOOK_MS. */
  look(): void {
    const { watch, host } = this;
    if (watch === undefined) return;
    const connected = this.#ports.some(({ connections }) => connections > 0);
    watch.look({
      connected: this.#ports.length === 0 ? undefined : connected,
      exporterUp: host.exporterUp(),
    });
    host.showFault(watch.fault);
  }

  /**
   * Opens every link; those to a VM that is not running are retried for ever.
   *
   * @throws SocketError if it cannot listen
   */
  async open(): Promise<void> {
    const { vm, listeners } = this.configuration;
    if (vm !== undefined) await this.#openPorts(vm);
    for (const listen of listeners) await this.#openListener(listen);
  }

  /** Says goodbye to every peer and closes everything. */
  close(): void {
    for (const link of this.links) link.close();
    this.host.close();
  }

  async #openPorts({ name, ports, chardev, users }: VmConfiguration): Promise<void> {
    const { host } = this;
    for (const [index, path] of ports.entries()) {
      const log = limitLines(this.#log.child({ vm: name, port: index }));
      if (chardev === "server") {
        const link = new ChardevLink(path, index, host, log);
        this.#ports.push(link);
        this.links.push(link);
        link.open();
      } else {
        const link = { kind: "port", index } as const;
        const address = { kind: "unix", path } as const;
        const listener = new Listener({ address, users, maxClients: 1, link, host }, log);
        this.#ports.push(listener);
        this.links.push(listener);
        await listener.open();
      }
    }
  }

  async #openListener(listen: ListenConfiguration): Promise<void> {
    const { address, vm, protocol, users, cid, max_clients } = listen;
    const parsed = parseAddress(address);
    if (parsed === undefined) throw new ConfigurationError(`invalid address ${address}`);
    if (parsed.kind === "tcp" && vm !== undefined) {
      this.#log.warn({ address, vm }, "every program on this machine can have this VM's pictures encoded");
    }
    const log = limitLines(this.#log.child(vm === undefined ? {} : { vm }));
    const link = { kind: "listen", index: this.#numberOf(address), address, protocol } as const;
    const { host } = this;
    const options = { address: parsed, users, cid, maxClients: max_clients, link, host };
    const listener = new Listener(options, log);
    this.links.push(listener);
    await listener.open();
  }
}
