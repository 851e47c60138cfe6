/**
 * The relay: for each VM of the configuration its ports' links, the sessions on them, and its exporter.
 *
 * A port is bound to its VM here and nowhere else: a session reaches only the resources of the VM at the other end
 * of its link, because resource ids mean nothing outside it.
 */
import { randomInt } from "node:crypto";
import type { Logger } from "pino";
import { LIMITS } from "../../proto/limits.ts";
import type { Configuration, VmConfiguration } from "../config.ts";
import type { EncoderBackend, EncoderOffer } from "../encoders/encoder.ts";
import { createBackend } from "../encoders/index.ts";
import { packageVersion } from "../package-root.ts";
import { ChardevLink } from "./chardev-link.ts";
import { codecNumber } from "./requests.ts";
import { VmResources } from "./resources.ts";
import { SessionServer, type WelcomeBody } from "./session.ts";
import { Stream } from "./stream.ts";

export class Relay {
  readonly #log: Logger;
  readonly #backend: EncoderBackend;
  readonly #offers: readonly EncoderOffer[];
  readonly #hostBootId = randomInt(1, 0xffffffff);
  readonly #resources: VmResources[] = [];
  readonly #ports: { link: ChardevLink; server: SessionServer }[] = [];

  private constructor(backend: EncoderBackend, offers: readonly EncoderOffer[], log: Logger) {
    this.#backend = backend;
    this.#offers = offers;
    this.#log = log;
  }

  /**
   * Probes the encoders and opens every link; links to VMs that do not run yet are retried for ever.
   *
   * @throws EncoderUnavailableError when no configured encoder works on this machine
   */
  static async start(configuration: Configuration, log: Logger): Promise<Relay> {
    const backend = createBackend(configuration.encoder.order);
    const offers = await backend.offers();
    const relay = new Relay(backend, offers, log);
    log.info({ encoders: offers.map(({ name, codec }) => `${name} (${codec})`) }, "encoders");
    for (const vm of configuration.vm) relay.#addVm(vm);
    return relay;
  }

  /** Says goodbye to every guest and lets everything go. */
  stop(): void {
    for (const { server, link } of this.#ports) {
      server.close();
      link.close();
    }
    for (const resources of this.#resources) resources.close();
  }

  #addVm(vm: VmConfiguration): void {
    const resources = vm.export === undefined ? undefined : new VmResources(vm.export, this.#log);
    if (resources !== undefined) {
      this.#resources.push(resources);
      resources.open();
    }
    for (const [index, path] of vm.ports.entries()) {
      const log = this.#log.child({ vm: vm.name, port: index });
      const server = new SessionServer({
        hostBootId: this.#hostBootId,
        welcome: () => this.#welcome(resources),
        open: (output) => new Stream(output, { backend: this.#backend, resources, log }),
        log,
      });
      const link = new ChardevLink(path, server, log);
      server.attach(link);
      this.#ports.push({ link, server });
      link.open();
    }
  }

  #welcome(resources: VmResources | undefined): WelcomeBody {
    return {
      maxAttached: LIMITS.MAX_ATTACHED_BUFFERS,
      maxInFlight: LIMITS.MAX_IN_FLIGHT_FRAMES,
      resources: resources?.available ?? false,
      software: `vsockenc ${packageVersion}`,
      encoders: this.#offers.slice(0, LIMITS.MAX_ENCODER_OFFERS).map((offer) => ({
        ...offer,
        codec: codecNumber(offer.codec),
      })),
    };
  }
}
