/**
 * The GPU of one VM: a vhost-user back end for QEMU, and the export socket for relays.
 *
 * The first connection that sends a message is QEMU's. Others only test whether the socket is in use, as a second
 * `vsockenc gpu` with the same path does, and must not end this process by closing.
 *
 * The service ends with QEMU's connection. QEMU does not reconnect a vhost-user-gpu, so waiting for another connection
 * would only leave a process and its sockets behind; a restarted VM needs a restarted GPU.
 */
import type { Logger } from "pino";
import { limitLines } from "../../common/log-limit.ts";
import { Turns } from "../../common/turns.ts";
import { ExportServer } from "../export/server.ts";
import { FdListener, SocketError } from "../native/listener.ts";
import { closeDescriptor, os } from "../native/os-addon.ts";
import { Queue } from "./commands.ts";
import { GpuDevice, type GpuOptions } from "./device.ts";
import { exportSource, SharedMemories } from "./export-source.ts";
import { GPU_LIMITS, GuestWarnings } from "./limits.ts";
import { SessionRecorder } from "./session-recording.ts";
import { VhostUserBackend } from "./vhost-user-backend.ts";
import { Vring } from "./vring.ts";

/** Connections that have sent nothing yet. */
export const MAX_SILENT_CONNECTIONS = 8;

/** Where QEMU is found: a path to listen on, or a descriptor of a socket (connected, or listening). */
export type VhostEndpoint =
  | { readonly kind: "path"; readonly path: string }
  | { readonly kind: "descriptor"; readonly fd: number };

export interface GpuServiceOptions extends GpuOptions {
  readonly endpoint: VhostEndpoint;
  /** Without it no relay can read the pictures. */
  readonly exportPath?: string | undefined;
  /** Users that may read the guest's memory, besides our own and root. */
  readonly exportUsers: readonly number[];
  /** File for a recording of all messages and commands of QEMU and the guest's driver, with their answers. */
  readonly recordPath?: string | undefined;
}

export class GpuService {
  /** Resolves when QEMU has disconnected or the service was closed; rejects if the connection broke. */
  readonly ended: Promise<void>;
  readonly #log: Logger;
  readonly #memories = new SharedMemories();
  readonly #device: GpuDevice;
  readonly #rings: readonly Vring[];
  readonly #recorder: SessionRecorder | undefined;
  readonly #exports: ExportServer | undefined;
  #listener: FdListener | undefined;
  #backend: VhostUserBackend | undefined;
  readonly #silent = new Set<VhostUserBackend>();
  #settle: (error?: Error) => void = () => undefined;
  #closed = false;

  /** Listens. @throws SocketError */
  constructor(options: GpuServiceOptions, log: Logger) {
    this.#log = limitLines(log);
    this.ended = new Promise((resolve, reject) => {
      this.#settle = (error) => (error === undefined ? resolve() : reject(error));
    });
    const warnings = new GuestWarnings(log);
    const device = new GpuDevice(options, this.#memories, warnings);
    const { recordPath } = options;
    const recorder = recordPath === undefined ? undefined : new SessionRecorder(recordPath, options, log);
    const turns = new Turns(GPU_LIMITS.RING_TURN_MS);
    const ring = (name: "control" | "cursor", queue: number) =>
      new Vring(name, (command) => device[name](command), turns, warnings, recorder?.ring(queue));
    const control = ring("control", Queue.CONTROL);
    this.#recorder = recorder;
    this.#device = device;
    this.#rings = [control, ring("cursor", Queue.CURSOR)];
    this.#exports = this.#openExports(options, control);
    try {
      this.#openEndpoint(options.endpoint);
    } catch (error) {
      this.#exports?.close();
      throw error;
    }
  }

  /** Whether QEMU has connected. */
  get engaged(): boolean {
    return this.#backend !== undefined;
  }

  /** Ends the service and removes its sockets. */
  close(): void {
    this.#end(undefined);
  }

  #openExports(options: GpuServiceOptions, control: Vring): ExportServer | undefined {
    const { exportPath, exportUsers, heads } = options;
    if (exportPath === undefined) {
      this.#log.warn("no relay can read the guest's pictures: give --export-path to change that");
      return undefined;
    }
    const source = exportSource(this.#device, this.#memories, heads, control);
    const server = new ExportServer({ path: exportPath, users: exportUsers }, source, this.#log);
    this.#device.setReader(server);
    return server;
  }

  #openEndpoint(endpoint: VhostEndpoint): void {
    if (endpoint.kind === "path") {
      this.#listener = FdListener.listen(endpoint.path, (fd) => this.#accept(fd));
      this.#log.info({ path: endpoint.path }, "waiting for QEMU");
      return;
    }
    switch (os.adopt(endpoint.fd)) {
      case "connected":
        this.#connect(endpoint.fd);
        break;
      case "listening":
        this.#listener = FdListener.adopt(endpoint.fd, (fd) => this.#accept(fd));
        break;
      case "other":
        throw new SocketError(
          `descriptor ${endpoint.fd} is not a stream socket: pass the vhost-user socket with --fd, or use --socket-path`,
        );
    }
  }

  #accept(fd: number): void {
    if (this.#silent.size >= MAX_SILENT_CONNECTIONS) {
      closeDescriptor(fd);
      return;
    }
    this.#connect(fd);
  }

  #connect(fd: number): void {
    const target = { device: this.#device, rings: this.#rings, recorder: this.#recorder };
    const backend: VhostUserBackend = new VhostUserBackend(fd, target, this.#log, {
      onEngaged: () => this.#engage(backend),
      onEnd: (error) => {
        this.#silent.delete(backend);
        // Without a listener there will be no other connection.
        if (backend === this.#backend || this.#listener === undefined) this.#end(error);
        else if (error !== undefined)
          this.#log.warn({ reason: error.message }, "rejected a peer that does not speak vhost-user");
      },
    });
    this.#silent.add(backend);
  }

  #engage(backend: VhostUserBackend): void {
    this.#log.info("QEMU has connected");
    this.#silent.delete(backend);
    this.#backend = backend;
    // One VM: another QEMU that connects to the path gets an error at once, instead of waiting.
    this.#listener?.close();
    for (const other of [...this.#silent]) other.close();
  }

  #end(error: Error | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#log.info(this.#backend === undefined ? "closed before QEMU connected" : "QEMU has disconnected");
    this.#listener?.close();
    this.#backend?.close();
    for (const backend of [...this.#silent]) backend.close();
    this.#exports?.close();
    this.#memories.close();
    this.#recorder?.close();
    this.#settle(error);
  }
}
