/**
 * A worker: serves the peers of one VM in a process of its own.
 *
 * It opens no socket and no file of its own accord: the relay sends it the descriptor of every peer's connection, and one of
 * the exporter's when it asks. When no session has been open for a while it says so, and the relay lets it end.
 */
import type { Logger } from "pino";
import { errorText } from "../../common/error-text.ts";
import type { WorkerConfiguration } from "../config.ts";
import { Channel, type Incoming, type MessageSchema } from "../native/channel.ts";
import { filterSystemCalls } from "../native/sandbox.ts";
import { relayEncoders } from "../relay/encoders.ts";
import { RelayMetrics } from "../relay/metrics.ts";
import type { SourceOffers, VmViewer, VmViewerParts } from "../relay/relay-viewer.ts";
import type { ServedPeer } from "../relay/vm-host.ts";
import { VmServer } from "../relay/vm-server.ts";
import type { FromWorker, ToWorker } from "./messages.ts";
import { WORKER_SYSTEM_CALLS } from "./sandbox.ts";
import { SourceServer } from "./source-server.ts";

const CHECK_MS = 500;

const fromRelay: MessageSchema<ToWorker> = {
  safeParse: (message) => ({ success: true, data: message as ToWorker }),
};

/** The exporter cannot be reached; the message is the relay's. */
class NoExporterError extends Error {
  override readonly name = "NoExporterError";
}

export interface WorkerParts {
  /** Makes the logger, at the configuration's level. */
  readonly log: (configuration: WorkerConfiguration) => Logger;
  readonly show: (offers: SourceOffers, parts: VmViewerParts) => VmViewer;
  /** The relay has ended the connection, or an error has. */
  readonly onEnd: (error?: Error) => void;
}

export class Worker {
  readonly #parts: WorkerParts;
  readonly #channel: Channel<ToWorker, FromWorker>;
  readonly #metrics = new RelayMetrics();
  readonly #peers = new Map<number, ServedPeer>();
  readonly #sources: SourceServer;
  #server: Promise<VmServer> | undefined;
  /** Waits for the answer to "want-exporter". */
  #exporter: { resolve: (fd: number) => void; reject: (error: Error) => void } | undefined;
  /** Number of the next peer. */
  #before = 0;
  #idleMs = 0;
  #neededMs = performance.now();
  #exporterUp: boolean | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** @param fd the connection to the relay */
  constructor(fd: number, parts: WorkerParts) {
    this.#parts = parts;
    this.#channel = new Channel<ToWorker, FromWorker>(fd, fromRelay, {
      onMessage: (incoming) => this.#receive(incoming),
      onClose: (error) => parts.onEnd(error),
    });
    this.#sources = new SourceServer(this.#channel);
  }

  /** Says goodbye to every peer; the process ends when nothing is left. */
  close(): void {
    clearInterval(this.#timer);
    void this.#server?.then((server) => server.close());
  }

  #receive({ message, descriptor }: Incoming<ToWorker>): void {
    switch (message.type) {
      case "start":
        this.#idleMs = message.idleMs;
        this.#server = this.#start(message);
        break;
      case "peer":
        if (descriptor !== undefined) void this.#serve(message, descriptor);
        break;
      case "close-peer":
        // Behind a peer that waits for the start.
        void this.#server?.then(() => this.#peers.get(message.id)?.close());
        break;
      case "exporter":
        if (descriptor !== undefined) this.#exporter?.resolve(descriptor);
        else this.#exporter?.reject(new NoExporterError(message.reason ?? "no reason given"));
        this.#exporter = undefined;
        break;
      case "watch":
        this.#sources.watch(message.source, message.on);
        break;
      case "key-frame":
        this.#sources.get(message.source)?.requestKeyFrame();
        break;
      case "bitrate":
        this.#sources.get(message.source)?.setBitrate?.(message.kbps);
        break;
      case "metrics":
        void this.#report();
        break;
    }
  }

  async #start({ configuration, offers, viewer }: Extract<ToWorker, { type: "start" }>): Promise<VmServer> {
    const { vm, encoder, pictures } = configuration;
    const log = this.#parts.log(configuration);
    const backend = relayEncoders(encoder, log, offers);
    const parts = { backend, metrics: this.#metrics, log };
    const server = new VmServer({
      ...parts,
      vm,
      offers,
      maxRuns: pictures.max_runs,
      viewer: viewer ? this.#parts.show(this.#sources, parts) : undefined,
      connectExporter: vm?.export === undefined ? undefined : () => this.#connectExporter(),
    });
    this.#timer = setInterval(() => this.#check(server), CHECK_MS);
    filterSystemCalls(WORKER_SYSTEM_CALLS, log);
    await server.ready;
    return server;
  }

  async #serve(message: Extract<ToWorker, { type: "peer" }>, fd: number): Promise<void> {
    const { id, link, name } = message;
    this.#before = id + 1;
    this.#neededMs = performance.now();
    const server = await this.#server;
    const peer = server?.serve(fd, { link, name }, () => {
      this.#peers.delete(id);
      this.#channel.send({ type: "peer-gone", id });
    });
    if (peer !== undefined) this.#peers.set(id, peer);
  }

  #connectExporter(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#exporter = { resolve, reject };
      this.#channel.send({ type: "want-exporter" });
    });
  }

  /** Reports what the relay shows of the VM, and whether this process is needed. */
  #check(server: VmServer): void {
    const up = server.exporterUp();
    if (up !== undefined && up !== this.#exporterUp) {
      this.#exporterUp = up;
      this.#channel.send({ type: "exporter-up", up });
    }
    const now = performance.now();
    if (server.isNeeded) this.#neededMs = now;
    else if (now - this.#neededMs >= this.#idleMs && server.suspend()) {
      // From here on, what a guest sends is for the next worker, unless the relay has sent another peer meanwhile.
      this.#neededMs = now;
      this.#channel.send({ type: "idle", before: this.#before });
    }
  }

  async #report(): Promise<void> {
    try {
      this.#channel.send({ type: "metrics", metrics: await this.#metrics.report() });
    } catch (error) {
      this.#channel.close(new Error(errorText(error)));
    }
  }
}
