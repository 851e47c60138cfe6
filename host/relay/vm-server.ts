/**
 * Serves the peers of one VM in this process: their sessions, and the VM's exporter.
 *
 * A session can use the resources of the VM at the other end of its link, and no others: a server has one VM, or none.
 */
import { randomInt } from "node:crypto";
import type { Logger } from "pino";
import { limitLines } from "../../common/log-limit.ts";
import { packageVersion } from "../../common/package-root.ts";
import { LIMITS } from "../../proto/limits.ts";
import type { VmConfiguration } from "../config.ts";
import type { EncoderBackend, EncoderOffer } from "../encoders/encoder.ts";
import { type ConnectExporter, VmResources } from "../export/vm-resources.ts";
import { PictureBudget } from "../native/picture.ts";
import { FdConnection, type LinkServer } from "./connection.ts";
import { EncoderGate } from "./encoder-gate.ts";
import { HxfrServer, MAX_HXFR_UNSENT_BYTES } from "./hxfr-session.ts";
import type { MetricReport, RelayMetrics, StreamMetrics } from "./metrics.ts";
import type { StreamObserver, VmViewer } from "./relay-viewer.ts";
import { offerBody } from "./requests.ts";
import { type SessionOutput, SessionServer } from "./session.ts";
import { SessionPeer } from "./session-peer.ts";
import { Stream } from "./stream.ts";
import { TimeShare } from "./time-share.ts";
import { Turnstile } from "./turnstile.ts";
import type { Peer, PeerLink, VmHost } from "./vm-host.ts";

export interface VmServerOptions {
  /** Undefined: peers that belong to no VM. */
  readonly vm: VmConfiguration | undefined;
  readonly backend: EncoderBackend;
  readonly offers: readonly EncoderOffer[];
  /** Runs of guest memory that this server's pictures may have mapped. */
  readonly maxRuns: number;
  readonly metrics: RelayMetrics;
  /** Shows the VM's streams and heads. */
  readonly viewer: VmViewer | undefined;
  /** Connects to the VM's exporter; undefined if it has none. */
  readonly connectExporter: ConnectExporter | undefined;
  readonly log: Logger;
}

export class VmServer implements VmHost {
  /** Resolves when the exporter has been asked for once: a session that opens earlier would have no resources. */
  readonly ready: Promise<void> = Promise.resolve();
  readonly #options: VmServerOptions;
  readonly #hostBootId = randomInt(1, 0xffffffff);
  readonly #resources: VmResources | undefined;
  readonly #metrics: StreamMetrics;
  readonly #budget: PictureBudget;
  readonly #openings = new TimeShare();
  readonly #mapping = new TimeShare();
  readonly #probes = new Turnstile(1);
  /** Of all peers: what a VM's guest causes, it may do on any of its links. */
  readonly #log: Logger;
  readonly #peers = new Set<SessionPeer>();
  /** Of the VM's ports: each is offered to viewers whether or not a guest is streaming. */
  readonly #portObservers: readonly (StreamObserver | undefined)[];

  constructor(options: VmServerOptions) {
    const { vm, metrics, viewer, connectExporter, log } = options;
    this.#options = options;
    this.#metrics = metrics.forVm(vm?.name ?? "");
    this.#log = limitLines(log);
    this.#budget = new PictureBudget(options.maxRuns);
    this.#portObservers = vm?.ports.map((_, index) => viewer?.port(vm.name, index)) ?? [];
    if (vm === undefined || connectExporter === undefined) return;
    this.#resources = new VmResources(connectExporter, this.#budget, this.#log);
    viewer?.heads(vm, this.#resources);
    this.ready = this.#resources.open();
  }

  /** Whether a peer has a session, or a head is known that viewers may watch. */
  get isNeeded(): boolean {
    const shows = this.#options.vm?.view.heads === true && this.#resources?.available === true;
    return shows || [...this.#peers].some(({ isOpen }) => isOpen);
  }

  /**
   * Stops reading from all peers, so that another process can serve them from where this one has stopped.
   *
   * @returns false, with nothing done, if bytes that were read wait for their turn
   */
  suspend(): boolean {
    if ([...this.#peers].every((peer) => peer.suspend())) return true;
    this.#continue();
    return false;
  }

  #continue(): void {
    for (const peer of this.#peers) peer.continue();
  }

  /** Ends `suspend`, too. */
  serve(fd: number, peer: Peer, onGone: () => void): SessionPeer {
    this.#continue();
    const { link, name } = peer;
    const details = link.kind === "port" ? { port: link.index } : { listen: link.address, peer: name };
    const log = this.#log.child(details);
    const isHxfr = link.kind === "listen" && link.protocol === "hxfr";
    const served = new SessionPeer({
      connection: new FdConnection(fd, name, isHxfr ? MAX_HXFR_UNSENT_BYTES : undefined),
      server: this.#server(link, log),
      kind: link.kind === "listen" ? "client" : "chardev",
      rejectHelix: !isHxfr,
      log,
      onGone: () => {
        this.#peers.delete(served);
        // The peer may be gone before this returns.
        queueMicrotask(onGone);
      },
    });
    this.#peers.add(served);
    served.open();
    return served;
  }

  exporterUp(): boolean | undefined {
    return this.#resources?.available;
  }

  /** The heads are this process's own, and show that their exporter is away. */
  showFault(): void {}

  async metrics(): Promise<readonly MetricReport[]> {
    return [];
  }

  close(): void {
    for (const peer of [...this.#peers]) peer.close();
    this.#resources?.close();
  }

  #server(link: PeerLink, log: Logger): LinkServer {
    const observe = () => this.#observer(link);
    const streams = { ...this.#streams(observe, log), meter: this.#metrics, log };
    if (link.kind === "listen" && link.protocol === "hxfr") return new HxfrServer(streams);
    const { offers } = this.#options;
    return new SessionServer({
      hostBootId: this.#hostBootId,
      welcome: () => ({
        maxAttached: LIMITS.MAX_ATTACHED_BUFFERS,
        maxInFlight: LIMITS.MAX_IN_FLIGHT_FRAMES,
        resources: this.#resources?.available ?? false,
        software: `vsockenc ${packageVersion}`,
        encoders: offers.slice(0, LIMITS.MAX_ENCODER_OFFERS).map(offerBody),
      }),
      ...streams,
    });
  }

  #observer(link: PeerLink): StreamObserver | undefined {
    if (link.kind === "port") return this.#portObservers[link.index];
    return this.#options.viewer?.client(this.#options.vm?.name ?? "", link.index, link.address);
  }

  /** @param observe gives the observer of each session */
  #streams(observe: () => StreamObserver | undefined, log: Logger) {
    const { backend } = this.#options;
    const gate = new EncoderGate(this.#openings);
    return {
      open: (output: SessionOutput) =>
        new Stream(output, {
          backend,
          gate,
          probes: this.#probes,
          budget: this.#budget,
          mapping: this.#mapping,
          resources: this.#resources,
          metrics: this.#metrics,
          observer: observe(),
          log,
        }),
    };
  }
}
