/**
 * /metrics and /health over HTTP, on loopback.
 *
 * It is read-only. Programs on this machine can read it. Web pages cannot: a request must name a loopback host, which
 * defeats DNS rebinding.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Logger } from "pino";
import { Registry } from "prom-client";
import { z } from "zod";
import { isLoopback } from "./address.ts";
import { requestTarget } from "./http-request.ts";

/**
 * The table `status` in the configurations of relay and bridge.
 *
 * @param port the default
 * @param program its name in the description, e.g. "relay"
 */
export const statusOptions = (port: number, program: string) =>
  z
    .strictObject({
      enabled: z.boolean().default(true).describe("Whether /metrics and /health are served."),
      port: z
        .int()
        .min(1)
        .max(65_535)
        .default(port)
        .describe(
          `TCP port on 127.0.0.1. If another program uses it, the ${program} warns and runs without the status page.`,
        ),
    })
    .prefault({});

/** Whether the program works; if not, the reasons. */
export type Health = { readonly ok: true } | { readonly ok: false; readonly reasons: readonly string[] };

const HOST = "127.0.0.1";
const MAX_CONNECTIONS = 32;
const REQUEST_MS = 5000;

export class StatusServer {
  readonly #server: Server;
  readonly #metrics: () => Promise<string>;
  readonly #health: () => Health;

  /**
   * Listens; if another program uses the port, warns and serves nothing.
   *
   * @param metrics in Prometheus' text format
   */
  constructor(port: number, metrics: () => Promise<string>, health: () => Health, log: Logger) {
    this.#metrics = metrics;
    this.#health = health;
    this.#server = createServer(
      { requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS, keepAliveTimeout: REQUEST_MS },
      (request, response) => void this.#answer(request, response),
    );
    this.#server.maxConnections = MAX_CONNECTIONS;
    this.#server.on("error", (error: NodeJS.ErrnoException) => {
      const reason = error.code === "EADDRINUSE" ? "another program uses the port" : error.message;
      log.warn({ port }, `no /metrics and /health: ${reason}; choose another with status.port`);
    });
    const url = `http://${HOST}:${port}/`;
    this.#server.listen(port, HOST, () => log.info({ url }, "/metrics and /health"));
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, hostname } = requestTarget(request);
    if (!isLoopback(hostname)) {
      reply(response, 403, "text/plain", "request 127.0.0.1\n");
    } else if (request.method !== "GET" && request.method !== "HEAD") {
      reply(response, 405, "text/plain", "GET only\n");
    } else if (pathname === "/metrics") {
      reply(response, 200, Registry.PROMETHEUS_CONTENT_TYPE, await this.#metrics());
    } else if (pathname === "/health") {
      const health = this.#health();
      reply(response, health.ok ? 200 : 503, "application/json", `${JSON.stringify(health)}\n`);
    } else {
      reply(response, 404, "text/plain", "not found; available: /metrics and /health\n");
    }
  }
}

function reply(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { "Content-Type": type, "Cache-Control": "no-store" });
  response.end(response.req.method === "HEAD" ? undefined : body);
}
