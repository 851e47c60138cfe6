/** Serves the page and, at /watch, the pictures of sources to browsers, for the bridge in a guest and the relay on a host. */
import * as http from "node:http";
import * as https from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { networkInterfaces } from "node:os";
import type { Logger } from "pino";
import type { Registry } from "prom-client";
import { WebSocketServer } from "ws";
import { requestTarget } from "../../common/http-request.ts";
import { limitLines } from "../../common/log-limit.ts";
import { RateLimit } from "../../common/rate-limit.ts";
import { VIEWER_LIMITS } from "../../proto/viewer-limits.ts";
import { Access, type Refusal } from "./http/access.ts";
import { readCertificate } from "./http/certificate.ts";
import { answerText, PageFiles } from "./http/page-files.ts";
import { PlainConnections } from "./http/plain-connections.ts";
import { reachableHosts } from "./http/reachable-hosts.ts";
import type { SourceOptions } from "./hub.ts";
import { ViewerMetrics } from "./metrics.ts";
import { type ViewerOptions, ViewerOptionsError } from "./options.ts";
import type { ViewerSource } from "./source.ts";
import { SourceCatalog } from "./source-catalog.ts";
import { Thumbnails } from "./thumbnails.ts";
import { Viewer } from "./viewer.ts";

export type { SourceOptions } from "./hub.ts";

export interface ViewerServerSetup {
  readonly options: ViewerOptions;
  /** Folder of the page as Vite builds it; read once, at the start. */
  readonly page: string;
  /** Software and version, which the page shows, e.g. "vsockenc relay 0.1.0". */
  readonly software: string;
  /** For the Prometheus metrics. */
  readonly registry: Registry;
  readonly log: Logger;
  /**
   * Called when it listens: at once, or, if the port is taken at the start, as soon as it is free. Without this, a taken port
   * is an error.
   */
  readonly onListening?: (server: ViewerServer) => void;
}

/** Interval of attempts to listen at a taken port. */
const LISTEN_RETRY_MS = 1000;

/** The WebSocket's path; every other path is a file of the page. */
const WATCH_PATH = "/watch";

/** Another program listens there. */
class PortTakenError extends ViewerOptionsError {}

export class ViewerServer {
  readonly #setup: ViewerServerSetup;
  readonly #page: PageFiles;
  readonly #access: Access;
  readonly #server: http.Server;
  readonly #sockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: VIEWER_LIMITS.RECEIVE_BYTES,
  });
  readonly #metrics: ViewerMetrics;
  readonly #catalog: SourceCatalog;
  readonly #thumbnails: Thumbnails;
  readonly #viewers = new Set<Viewer>();
  readonly #plain = new PlainConnections(VIEWER_LIMITS.SPARE_CONNECTIONS);
  /** Rejections must not flood the log; the metrics count them all. */
  readonly #refusalLogs = new RateLimit(VIEWER_LIMITS.REFUSALS_LOGGED_PER_SECOND);
  readonly #connectionLog: Logger;
  #announcing: NodeJS.Immediate | undefined;
  #retry: NodeJS.Timeout | undefined;

  private constructor(setup: ViewerServerSetup, page: PageFiles, access: Access, server: http.Server) {
    this.#setup = setup;
    this.#page = page;
    this.#access = access;
    this.#connectionLog = limitLines(setup.log);
    this.#metrics = new ViewerMetrics(setup.registry);
    this.#catalog = new SourceCatalog(this.#metrics, setup.log);
    this.#thumbnails = new Thumbnails(this.#catalog);
    this.#server = server;
    server.on("connection", (socket) => this.#plain.add(socket));
    server.on("request", (request, response) => this.#answer(request, response));
    server.on("upgrade", (request, socket, head) => this.#upgrade(request, socket as Socket, head));
  }

  /**
   * Reads the page and the certificate, and listens.
   *
   * @throws ViewerOptionsError when a file cannot be used or the address cannot be listened on
   */
  static async start(setup: ViewerServerSetup): Promise<ViewerServer> {
    const certificate = await readCertificate(setup.options);
    const times = {
      requestTimeout: VIEWER_LIMITS.REQUEST_MS,
      headersTimeout: VIEWER_LIMITS.REQUEST_MS,
      keepAliveTimeout: VIEWER_LIMITS.REQUEST_MS,
      // How often these are checked; Node's default is 30 s.
      connectionsCheckingInterval: VIEWER_LIMITS.TICK_MS,
    };
    const tls = {
      handshakeTimeout: VIEWER_LIMITS.REQUEST_MS,
      cert: certificate?.cert,
      key: certificate?.key,
    };
    const server =
      certificate === undefined ? http.createServer(times) : https.createServer({ ...times, ...tls });
    const access = new Access(setup.options, certificate?.own);
    const viewers = new ViewerServer(setup, await PageFiles.read(setup.page), access, server);
    await viewers.#open();
    return viewers;
  }

  /** The address for a browser on this machine; "" while it does not listen. It contains the token, so keep it out of logs. */
  address(): string {
    return this.addresses()[0] ?? "";
  }

  /** `address()`, and the addresses for other machines, from the current interfaces; none while it does not listen. */
  addresses(): string[] {
    const bound = this.#server.address() as AddressInfo | null;
    if (bound === null) return [];
    const { port } = bound;
    const { certificate, host: listening } = this.#setup.options;
    const scheme = certificate === undefined ? "http" : "https";
    return reachableHosts(listening, networkInterfaces()).map(
      (host) => `${scheme}://${host}:${port}/?token=${this.#access.token}`,
    );
  }

  /**
   * Adds a source; viewers that watch its id get it at once.
   *
   * @throws ViewerSourceError for a duplicate or invalid id, or too many sources
   */
  add(source: ViewerSource, options: SourceOptions = {}): void {
    this.#catalog.add(source, options);
    this.#announce();
  }

  /** Removes a source and stops it. Its viewers are notified, and get it back if it is added again. */
  remove(id: string): void {
    this.#catalog.remove(id);
    this.#announce();
  }

  /** Notifies the viewers, closes every connection and stops every source. */
  async close(): Promise<void> {
    clearImmediate(this.#announcing);
    clearTimeout(this.#retry);
    for (const viewer of this.#viewers) viewer.close("goingAway", "the server is shutting down");
    for (const { source } of this.#catalog.hubs) this.#catalog.remove(source.id);
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  /** @throws ViewerOptionsError */
  async #open(): Promise<void> {
    const { log, onListening } = this.#setup;
    try {
      await this.#listen();
    } catch (error) {
      if (onListening === undefined || !(error instanceof PortTakenError)) throw error;
      if (this.#retry === undefined) log.warn(`no viewer until its port is free: ${error.message}`);
      const again = (): void => void this.#open().catch((later) => log.error(later, "no viewer"));
      this.#retry = setTimeout(again, LISTEN_RETRY_MS);
      return;
    }
    onListening?.(this);
  }

  async #listen(): Promise<void> {
    const { host, port } = this.#setup.options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", (error: NodeJS.ErrnoException) => {
        if (error.code === "EADDRINUSE") {
          const text = `cannot listen on ${host}: port ${port} is in use; set another viewer.port`;
          reject(new PortTakenError(text));
          return;
        }
        const reasons: Record<string, string> = {
          EACCES: `port ${port} needs privileges; set viewer.port above 1023`,
          EADDRNOTAVAIL: `${host} is not an address of this machine; correct viewer.host`,
          ENOTFOUND: `${host} does not resolve; correct viewer.host`,
        };
        const reason = reasons[error.code ?? ""] ?? error.message;
        reject(new ViewerOptionsError(`cannot listen on ${host}: ${reason}`));
      });
      this.#server.listen(port, host, resolve);
    });
    this.#server.removeAllListeners("error");
    this.#retry = undefined;
    this.#server.on("error", (error) => this.#setup.log.error(error, "viewer server failed"));
  }

  /** Sends the list once for all changes of one turn of the event loop. */
  #announce(): void {
    clearImmediate(this.#announcing);
    this.#announcing = setImmediate(() => {
      for (const viewer of this.#viewers) viewer.sourcesChanged();
    });
  }

  #answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    this.#plain.touch(request.socket);
    const { pathname } = requestTarget(request);
    if (pathname === WATCH_PATH) {
      // Browsers hide why a WebSocket was rejected, so a page requests the reason without an upgrade.
      const { status, text } = this.#refuse(request) ?? { status: 426, text: "open a WebSocket here" };
      answerText(response, status, text);
      return;
    }
    const refusal = this.#access.refuseHost(request);
    if (refusal !== undefined) answerText(response, refusal.status, refusal.text);
    else if (request.method !== "GET" && request.method !== "HEAD") answerText(response, 405, "GET only");
    else this.#page.answer(request, response, pathname);
  }

  #upgrade(request: http.IncomingMessage, socket: Socket, head: Buffer): void {
    const log = this.#connectionLog.child({ from: request.socket.remoteAddress });
    socket.on("error", (error) => log.debug({ reason: error.message }, "upgrade"));
    const refusal = this.#refuse(request);
    if (refusal !== undefined) {
      this.#metrics.refused(refusal.reason);
      if (this.#refusalLogs.take()) log.warn({ reason: refusal.text }, "viewer rejected");
      // After `upgrade` Node no longer answers on this socket.
      const response = new http.ServerResponse(request);
      response.shouldKeepAlive = false;
      response.assignSocket(socket);
      response.once("finish", () => socket.destroySoon());
      answerText(response, refusal.status, refusal.text);
      return;
    }
    this.#sockets.handleUpgrade(request, socket, head, (webSocket) => {
      log.info("viewer connected");
      this.#plain.remove(request.socket);
      const viewer = new Viewer(webSocket, {
        software: this.#setup.software,
        catalog: this.#catalog,
        thumbnails: this.#thumbnails,
        metrics: this.#metrics,
        log,
      });
      this.#viewers.add(viewer);
      webSocket.on("close", () => this.#viewers.delete(viewer));
    });
  }

  #refuse(request: http.IncomingMessage): Refusal | undefined {
    if (requestTarget(request).pathname !== WATCH_PATH) {
      return { status: 404, reason: "path", text: `the WebSocket is at ${WATCH_PATH}` };
    }
    const refusal = this.#access.refuse(request);
    if (refusal !== undefined) return refusal;
    if (this.#viewers.size < this.#setup.options.max_viewers) return undefined;
    const text = `too many viewers: ${this.#viewers.size} are connected, the limit is viewer.max_viewers`;
    return { status: 503, reason: "full", text };
  }
}
