/**
 * The relay's end of a VM's worker: starts it for the VM's first peer that says something, hands it every peer, and shows
 * its pictures to viewers. A worker that dies costs its VM a key frame: its ports stay connected here, and the next bytes of
 * the guest start another one.
 */
import type { ChildProcess } from "node:child_process";
import { randomInt } from "node:crypto";
import { errorText } from "../../common/error-text.ts";
import { ViewerSourceError } from "../../viewer/server/source.ts";
import { NO_STREAM } from "../heads/guest-stream-source.ts";
import { HEAD_AWAY } from "../heads/head-run.ts";
import { portSource } from "../heads/vm-sources.ts";
import { Channel, type Incoming } from "../native/channel.ts";
import { connectUnix } from "../native/listener.ts";
import { closeDescriptor } from "../native/os-addon.ts";
import type { MetricReport } from "../relay/metrics.ts";
import type { IsolationParts } from "../relay/relay.ts";
import type { Peer, ServedPeer, VmHost } from "../relay/vm-host.ts";
import { DormantPort } from "./dormant-port.ts";
import type { WorkerLauncher } from "./launcher.ts";
import { type FromWorker, fromWorker, type ToWorker } from "./messages.ts";
import { RemoteSource } from "./remote-source.ts";

const FIRST_PAUSE_MS = 100;
const LAST_PAUSE_MS = 10_000;
/** A worker that has run for so long was no failed start. */
const GOOD_AFTER_MS = 10_000;
/** Interval of attempts to reach the exporter of a VM whose heads are shown. */
const SEEK_MS = 500;
const METRICS_MS = 1000;
const IDLE_MS = 10_000;
/** How long a worker may take to end. */
const STOP_MS = 1500;

interface HeldPeer {
  readonly id: number;
  readonly peer: Peer;
  readonly onGone: () => void;
  /** A port's connection, which outlives workers. */
  readonly fd: number | undefined;
  dormant: DormantPort | undefined;
}

interface RunningWorker {
  readonly child: ChildProcess;
  readonly channel: Channel<FromWorker, ToWorker>;
  readonly startedMs: number;
}

export interface WorkerOptions {
  readonly launcher: WorkerLauncher;
  /** How long a worker without a session stays, so that a guest that starts again finds it. */
  readonly idleMs?: number;
}

export class WorkerHost implements VmHost {
  readonly #parts: IsolationParts;
  /** Differs from every worker's, so that a guest whose worker has died opens a new session. */
  readonly #bootId = randomInt(1, 0xffffffff);
  readonly #options: WorkerOptions;
  readonly #peers = new Map<number, HeldPeer>();
  readonly #sources = new Map<string, RemoteSource>();
  #nextPeer = 0;
  #worker: RunningWorker | undefined;
  #exporterUp = false;
  #pauseMs = FIRST_PAUSE_MS;
  /** Until it ends, no worker is started: the last one died. */
  #pause: NodeJS.Timeout | undefined;
  #seek: NodeJS.Timeout | undefined;
  #metricsWaiting: ((metrics: readonly MetricReport[]) => void)[] = [];
  #closed = false;

  constructor(parts: IsolationParts, options: WorkerOptions) {
    this.#parts = parts;
    this.#options = options;
    const { vm, sources } = parts;
    if (vm === undefined || sources === undefined) return;
    for (const index of vm.ports.keys()) {
      this.#addSource({ ...portSource(vm.name, index), kind: "stream" });
    }
    if (vm.view.heads) this.#seekExporter();
  }

  serve(fd: number, peer: Peer, onGone: () => void): ServedPeer {
    const isPort = peer.link.kind === "port";
    const held: HeldPeer = {
      ...{ id: this.#nextPeer++, peer, onGone },
      ...{ fd: isPort ? fd : undefined, dormant: undefined },
    };
    this.#peers.set(held.id, held);
    if (isPort && this.#worker === undefined) this.#sleep(held, fd);
    else this.#hand(held, fd);
    if (!isPort) closeDescriptor(fd);
    return { close: () => this.#closePeer(held) };
  }

  exporterUp(): boolean | undefined {
    const path = this.#parts.vm?.export;
    if (path === undefined) return undefined;
    return this.#worker === undefined ? answers(path) : this.#exporterUp;
  }

  showFault(fault: string | undefined): void {
    for (const source of this.#sources.values()) {
      if (source.kind === "head") source.showFault(fault);
    }
  }

  metrics(): Promise<readonly MetricReport[]> {
    const worker = this.#worker;
    if (worker === undefined) return Promise.resolve([]);
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve([]), METRICS_MS);
      this.#metricsWaiting.push((metrics) => {
        clearTimeout(timer);
        resolve(metrics);
      });
      worker.channel.send({ type: "metrics" });
    });
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#pause);
    clearTimeout(this.#seek);
    this.#worker?.channel.close();
    for (const held of [...this.#peers.values()]) this.#gone(held);
    for (const id of this.#sources.keys()) this.#parts.sources?.remove(id);
  }

  /** Keeps a port without a worker. */
  #sleep(held: HeldPeer, fd: number): void {
    held.dormant = new DormantPort(fd, this.#bootId, {
      onBytes: () => {
        held.dormant = undefined;
        if (this.#pause === undefined) this.#hand(held, fd);
      },
      onHangup: () => this.#gone(held),
    });
  }

  #hand({ id, peer, onGone }: HeldPeer, fd: number): void {
    const worker = this.#pause === undefined ? this.#run() : undefined;
    if (worker === undefined) {
      // A client of a listener may connect again; a port waits.
      if (peer.link.kind === "port") return;
      this.#peers.delete(id);
      queueMicrotask(onGone);
      return;
    }
    worker.channel.send(
      { type: "peer", descriptor: true, id, link: peer.link, name: peer.name },
      undefined,
      fd,
    );
  }

  #closePeer(held: HeldPeer): void {
    if (held.dormant !== undefined || this.#worker === undefined) this.#gone(held);
    else this.#worker.channel.send({ type: "close-peer", id: held.id });
  }

  #gone(held: HeldPeer): void {
    if (!this.#peers.delete(held.id)) return;
    held.dormant?.end();
    if (held.fd !== undefined) closeDescriptor(held.fd);
    held.onGone();
  }

  /** The worker, started if there is none. */
  #run(): RunningWorker | undefined {
    if (this.#worker !== undefined || this.#closed) return this.#worker;
    const { configuration, vm, offers, sources, log } = this.#parts;
    const { log: logging, encoder, pictures } = configuration;
    const { child, fd } = this.#options.launcher.take();
    const channel = new Channel<FromWorker, ToWorker>(fd, fromWorker, {
      onMessage: (incoming) => this.#receive(incoming),
      onClose: (error) => this.#ended(worker, error),
    });
    const worker: RunningWorker = { child, channel, startedMs: performance.now() };
    this.#worker = worker;
    log.info({ pid: child.pid }, "worker started");
    channel.send({
      type: "start",
      configuration: { log: logging, encoder, pictures, vm },
      offers: [...offers],
      viewer: sources !== undefined,
      idleMs: this.#options.idleMs ?? IDLE_MS,
    });
    // Ports that were asleep are served at once, also those of other programs in the guest.
    for (const held of this.#peers.values()) {
      if (held.dormant === undefined || held.fd === undefined) continue;
      held.dormant.end();
      held.dormant = undefined;
      this.#hand(held, held.fd);
    }
    return worker;
  }

  #ended(worker: RunningWorker, error: Error | undefined): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    const { child, startedMs } = worker;
    const kill = setTimeout(() => child.kill("SIGKILL"), STOP_MS).unref();
    child.once("exit", (code, signal) => {
      clearTimeout(kill);
      const { log } = this.#parts;
      if (code === 0 && error === undefined) log.info("worker ended");
      else log.error({ code, signal, err: error }, "the VM's worker died; its next frame starts another one");
    });
    for (const waiting of this.#metricsWaiting.splice(0)) waiting([]);
    for (const [id, source] of this.#sources) this.#detach(id, source);
    if (this.#closed) return;
    if (performance.now() - startedMs >= GOOD_AFTER_MS) this.#pauseMs = FIRST_PAUSE_MS;
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      for (const held of [...this.#peers.values()]) this.#wake(held);
    }, this.#pauseMs);
    this.#pauseMs = Math.min(2 * this.#pauseMs, LAST_PAUSE_MS);
    for (const held of [...this.#peers.values()]) {
      if (held.fd === undefined) this.#gone(held);
      else this.#sleep(held, held.fd);
    }
    if (this.#parts.vm?.view.heads === true) this.#seekExporter();
  }

  /** Serves a port whose guest has sent something during the pause. */
  #wake(held: HeldPeer): void {
    if (held.dormant === undefined && held.fd !== undefined) this.#hand(held, held.fd);
  }

  /** Starts a worker for the heads of a VM as soon as its exporter answers. */
  #seekExporter(): void {
    const path = this.#parts.vm?.export;
    if (path === undefined || this.#parts.sources === undefined) return;
    clearTimeout(this.#seek);
    this.#seek = setTimeout(() => {
      if (this.#worker !== undefined) return;
      if (this.#pause === undefined && answers(path)) this.#run();
      else this.#seekExporter();
    }, SEEK_MS);
  }

  #receive({ message, bytes }: Incoming<FromWorker>): void {
    switch (message.type) {
      case "want-exporter":
        this.#connectExporter();
        break;
      case "exporter-up":
        this.#exporterUp = message.up;
        break;
      case "peer-gone": {
        const held = this.#peers.get(message.id);
        if (held !== undefined) this.#gone(held);
        break;
      }
      case "idle":
        if (message.before === this.#nextPeer) this.#worker?.channel.close();
        break;
      case "offer":
        this.#offered(message);
        break;
      case "withdraw": {
        const source = this.#sources.get(message.source);
        if (source !== undefined) this.#detach(message.source, source);
        break;
      }
      case "state":
      case "unit":
      case "cursor":
        this.#sources.get(message.source)?.receive(message, bytes);
        break;
      case "metrics":
        this.#reported(message.metrics);
        break;
    }
  }

  #connectExporter(): void {
    const worker = this.#worker;
    const path = this.#parts.vm?.export;
    if (worker === undefined || path === undefined) return;
    try {
      const fd = connectUnix(path);
      worker.channel.send({ type: "exporter", descriptor: true }, undefined, fd);
      closeDescriptor(fd);
    } catch (error) {
      worker.channel.send({ type: "exporter", descriptor: false, reason: errorText(error) });
    }
  }

  #offered({ source: id, kind, title, bitrate }: Extract<FromWorker, { type: "offer" }>): void {
    const { name, vm } = this.#parts;
    // A worker speaks for its own VM alone.
    if (!id.startsWith(vm === undefined ? `${name}.` : `${name}/`)) return;
    const source = this.#sources.get(id) ?? this.#addSource({ id, kind, title, bitrate });
    source?.attach((message) => this.#worker?.channel.send(message));
  }

  #addSource(description: {
    readonly id: string;
    readonly kind: "stream" | "head";
    readonly title: string;
    readonly bitrate?: { readonly minKbps: number; readonly maxKbps: number } | undefined;
  }): RemoteSource | undefined {
    const { id, kind, title, bitrate } = description;
    const { vm, sources, log } = this.#parts;
    const away = kind === "head" ? HEAD_AWAY : NO_STREAM;
    const source = new RemoteSource({ id, kind, vm: vm?.name ?? "", title }, away, bitrate !== undefined);
    try {
      sources?.add(source, { bitrate });
    } catch (error) {
      if (!(error instanceof ViewerSourceError)) throw error;
      log.warn({ reason: error.message }, "cannot offer a source to viewers");
      return undefined;
    }
    this.#sources.set(id, source);
    return source;
  }

  /** A port's stream and a head stay in the list; the stream of a listener's client goes. */
  #detach(id: string, source: RemoteSource): void {
    source.attach(undefined);
    if (
      source.kind === "head" ||
      this.#parts.vm?.ports.some((_, index) => portSource(source.vm, index).id === id)
    ) {
      return;
    }
    this.#sources.delete(id);
    this.#parts.sources?.remove(id);
  }

  #reported(metrics: readonly MetricReport[]): void {
    const name = this.#parts.vm?.name ?? "";
    const own = metrics.map((metric) => ({
      ...metric,
      values: metric.values.filter(({ labels }) => labels["vm"] === name),
    }));
    this.#metricsWaiting.shift()?.(own);
  }
}

/** Whether something listens at the exporter's socket. */
function answers(path: string): boolean {
  try {
    closeDescriptor(connectUnix(path));
    return true;
  } catch {
    return false;
  }
}
