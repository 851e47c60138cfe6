import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { request as httpRequest, type IncomingMessage, type RequestOptions } from "node:http";
import { request as httpsRequest } from "node:https";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { pino } from "pino";
import { Registry } from "prom-client";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseViewerOptions, ViewerOptionsError } from "../../../viewer/server/options.ts";
import { ViewerServer } from "../../../viewer/server/viewer-server.ts";
import { until } from "../../support/until.ts";
import { servers } from "./support/test-server.ts";
import { TestSource } from "./support/test-source.ts";
import { Refused, TestViewer, watchUrl } from "./support/test-viewer.ts";

/** @param path sent as it is, which fetch would not do */
async function ask(address: string, path: string, options: RequestOptions & { ca?: Buffer } = {}) {
  const { protocol, hostname: host, port } = new URL(address);
  const request = protocol === "https:" ? httpsRequest : httpRequest;
  const sent = request({ host, port, path, agent: false, ...options }).end();
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  return { status: response.statusCode, headers: response.headers, text: await text(response) };
}

async function refusal(url: URL, headers: Record<string, string> = {}): Promise<number | undefined> {
  const viewer = await TestViewer.open(url, { headers }).catch((error: Error) => error);
  if (viewer instanceof Refused) return viewer.status;
  if (viewer instanceof Error) throw viewer;
  viewer.socket.terminate();
  return undefined;
}

describe("access", () => {
  const serve = servers();

  it("requires the token of the printed address", async () => {
    const { address } = await serve();
    const url = watchUrl(address);
    expect(await refusal(url)).toBeUndefined();
    const token = url.searchParams.get("token") ?? "";
    expect(token.length).toBeGreaterThan(20);
    for (const wrong of ["", token.slice(1), `${token}x`, token.toLowerCase()]) {
      url.searchParams.set("token", wrong);
      expect(await refusal(url), wrong).toBe(401);
    }
    url.search = "";
    expect(await refusal(url)).toBe(401);
  });

  it("creates a token for each server, or takes the configured one", async () => {
    const [one, two] = [await serve(), await serve()];
    expect(new URL(one.address).search).not.toBe(new URL(two.address).search);
    const { address } = await serve({ token: "a-token-of-24-characters" });
    expect(new URL(address).searchParams.get("token")).toBe("a-token-of-24-characters");
  });

  it("rejects pages of other origins, and accepts programs without an origin", async () => {
    const { address } = await serve();
    const url = watchUrl(address);
    const { port } = url;
    expect(await refusal(url, { Origin: `http://127.0.0.1:${port}` })).toBeUndefined();
    const neighbour = `http://127.0.0.1:${Number(port) + 1}`;
    const foreign = ["http://evil.example", neighbour, "null", `http://localhost:${port}`];
    for (const origin of foreign) expect(await refusal(url, { Origin: origin }), origin).toBe(403);
  });

  it("rejects rebound host names, with any spelling of the path", async () => {
    const { address } = await serve({ names: ["desk.example"] });
    const { port, search } = watchUrl(address);
    const url = watchUrl(address);
    expect(await refusal(url, { Host: `localhost:${port}` })).toBeUndefined();
    expect(await refusal(url, { Host: `desk.example:${port}` })).toBeUndefined();
    for (const name of ["evil.example", "192.168.1.1", "127.0.0.1.evil.example"]) {
      expect(await refusal(url, { Host: name }), name).toBe(403);
      const page = await ask(address, "/", { headers: { Host: name } });
      expect(page.status, name).toBe(403);
    }
    const headers = { Host: "evil.example" };
    expect((await ask(address, `//127.0.0.1/watch${search}`, { headers })).status).toBe(403);
  });

  it("returns over plain HTTP why a WebSocket is rejected, which browsers hide", async () => {
    const { address } = await serve();
    expect((await ask(address, "/watch")).status).toBe(401);
    expect((await ask(address, "/watch")).text).toContain("token");
    expect((await ask(address, `/watch${new URL(address).search}`)).status).toBe(426);
    const elsewhere = watchUrl(address);
    elsewhere.pathname = "/elsewhere";
    expect(await refusal(elsewhere)).toBe(404);
  });

  it("accepts max_viewers, survives hundreds of attempts, and has room again afterwards", async () => {
    const { server, address, registry, connect: connectViewer } = await serve({ max_viewers: 8 });
    const source = new TestSource();
    server.add(source);
    const watching = await connectViewer();
    watching.watch(source.id);
    await until(() => source.running, "the start");
    let refused = 0;
    for (let round = 0; round < 10; round += 1) {
      const opened = await Promise.allSettled(
        Array.from({ length: 40 }, () => TestViewer.open(watchUrl(address))),
      );
      const viewers = opened.filter((one) => one.status === "fulfilled").map(({ value }) => value);
      expect(viewers.length).toBe(7);
      for (const one of opened) {
        if (one.status === "rejected") expect(one.reason).toMatchObject({ status: 503 });
      }
      refused += 40 - viewers.length;
      source.deliver(1);
      await watching.untilUnits(round + 1);
      for (const viewer of viewers) viewer.socket.terminate();
      await until(async () => {
        const free = await TestViewer.open(watchUrl(address)).catch(() => undefined);
        if (free === undefined) refused += 1;
        free?.socket.terminate();
        return free !== undefined;
      }, "room for one more");
    }
    expect(await registry.metrics()).toContain(`vsockenc_viewer_refused_total{reason="full"} ${refused}`);
  });

  it("keeps the token out of the log", async () => {
    const lines: string[] = [];
    const { address, connect: connectViewer } = await serve(
      {},
      pino({ level: "trace" }, { write: (line) => void lines.push(line) }),
    );
    await connectViewer();
    await refusal(new URL(`${watchUrl(address)}x`));
    expect(lines.join("")).toContain("viewer rejected");
    expect(lines.join("")).not.toContain(new URL(address).searchParams.get("token"));
  });

  it("survives bytes that are not HTTP", async () => {
    const { address } = await serve();
    const upgrade = "GET watch HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    for (const bytes of ["\0\0\0\0", upgrade, "\r\n"]) {
      const socket = connect(Number(new URL(address).port), "127.0.0.1");
      socket.on("error", () => undefined).resume();
      socket.end(bytes);
      await new Promise((resolve) => socket.on("close", resolve));
    }
    expect((await ask(address, "/")).status).toBe(200);
  });
});

describe("the page", () => {
  const serve = servers();
  const servePage = async (): Promise<string> => {
    const { address } = await serve({}, undefined, (folder) => {
      mkdirSync(join(folder, "assets"));
      writeFileSync(join(folder, "assets", "main-1a2b.js"), "export {};");
      symlinkSync("/etc/passwd", join(folder, "assets", "link.txt"));
    });
    return address;
  };

  it("is served with content types, a content policy, and caching of hashed names", async () => {
    const address = await servePage();
    const index = await ask(address, "/?token=whatever");
    expect(index).toMatchObject({ status: 200, text: "<!doctype html>page" });
    expect(index.headers["content-type"]).toBe("text/html; charset=utf-8");
    expect(index.headers["cache-control"]).toBe("no-cache");
    expect(index.headers["content-security-policy"]).toContain("default-src 'none'");
    expect(index.headers["referrer-policy"]).toBe("no-referrer");
    const again = await ask(address, "/", { headers: { "If-None-Match": index.headers.etag ?? "" } });
    expect(again).toMatchObject({ status: 304, text: "" });
    const script = await ask(address, "/assets/main-1a2b.js");
    expect(script.headers["content-type"]).toBe("text/javascript; charset=utf-8");
    expect(script.headers["cache-control"]).toContain("immutable");
    expect(await ask(address, "/", { method: "HEAD" })).toMatchObject({ status: 200, text: "" });
    expect(await ask(address, "/", { method: "POST" })).toMatchObject({ status: 405 });
  });

  it("consists of its files only", async () => {
    const address = await servePage();
    const paths = [
      "/../../../../../../etc/passwd",
      "/assets/../../../../../../etc/passwd",
      "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
      "/..%2f..%2f..%2f..%2fetc/passwd",
      "/assets/link.txt",
      "/assets",
      "/assets/",
      "//index.html",
      "/index.html%00.js",
      "/__proto__",
    ];
    for (const path of paths) expect((await ask(address, path)).status, path).toBe(404);
  });

  it("names the remedy if it is missing", async () => {
    const setup = { software: "", registry: new Registry(), log: pino({ level: "silent" }) };
    const options = parseViewerOptions({ port: 0 });
    const empty = mkdtempSync(join(tmpdir(), "vsockenc-page-"));
    for (const page of [empty, join(empty, "absent")]) {
      const start = ViewerServer.start({ ...setup, options, page });
      await expect(start).rejects.toThrow(ViewerOptionsError);
      await expect(start).rejects.toThrow(/npm run build/);
    }
    rmSync(empty, { recursive: true });
  });
});

const CURVE = "-algorithm ec -pkeyopt ec_paramgen_curve:prime256v1";
const openssl = (command: string): void =>
  void execFileSync("openssl", command.split(" "), { stdio: "ignore" });

describe("where the server listens", () => {
  const serve = servers();
  let folder: string;
  let certificate: string;
  let key: string;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "vsockenc-tls-"));
    certificate = join(folder, "cert.pem");
    key = join(folder, "key.pem");
    openssl(`genpkey ${CURVE} -out ${key}`);
    const names = "-subj /CN=desk.example -addext subjectAltName=DNS:desk.example,IP:127.0.0.1";
    openssl(`req -x509 -days 2 -key ${key} ${names} -out ${certificate}`);
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it("serves TLS with the configured certificate, and accepts its names", async () => {
    const { address } = await serve({ certificate, key });
    expect(address).toMatch(/^https:/);
    const ca = readFileSync(certificate);
    expect((await ask(address, "/", { ca })).status).toBe(200);
    const named = { ca, headers: { Host: "desk.example" }, servername: "desk.example" };
    expect((await ask(address, "/", named)).status).toBe(200);
    expect((await ask(address, "/", { ...named, headers: { Host: "evil.example" } })).status).toBe(403);
    const viewer = await TestViewer.open(watchUrl(address), { ca });
    viewer.socket.terminate();
  });

  it("names a certificate file that cannot be used, and the remedy", async () => {
    const other = join(folder, "other.pem");
    writeFileSync(other, "nothing");
    const otherKey = join(folder, "other-key.pem");
    openssl(`genpkey ${CURVE} -out ${otherKey}`);
    for (const [options, message] of [
      [{ certificate: join(folder, "absent"), key }, /viewer\.certificate.*absent/],
      [{ certificate: other, key }, /other\.pem is not a certificate/],
      [{ certificate, key: other }, /other\.pem is not a PEM private key/],
      [{ certificate, key: otherKey }, /other-key\.pem is not a PEM private key .*cert\.pem/],
      [{ certificate }, /viewer\.key: certificate and key belong together/],
    ] as const) {
      await expect(serve(options)).rejects.toThrow(message);
    }
  });

  it("requires TLS or `remote` for other machines", async () => {
    for (const host of ["0.0.0.0", "::", "192.168.1.1", "desk.example"]) {
      expect(() => parseViewerOptions({ host }), host).toThrow(/remote = true/);
      expect(parseViewerOptions({ host, remote: true })).toMatchObject({ host });
      expect(parseViewerOptions({ host, certificate, key })).toMatchObject({ host });
    }
    for (const host of ["127.0.0.1", "::1", "localhost", "127.1.2.3"]) {
      expect(parseViewerOptions({ host })).toMatchObject({ host });
    }
    const { address } = await serve({ host: "127.0.0.1", remote: true });
    expect(address).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/\?token=/);
  });

  it("names a port in use, and an address of another machine", async () => {
    const { address } = await serve();
    const port = Number(new URL(address).port);
    await expect(serve({ port })).rejects.toThrow(new RegExp(`port ${port} is in use.*viewer.port`));
    await expect(serve({ host: "192.0.2.1", remote: true })).rejects.toThrow(/viewer\.host/);
  });

  it("rejects short tokens and names with a scheme", () => {
    expect(() => parseViewerOptions({ token: "short" })).toThrow(/viewer\.token.*16 to 128/);
    expect(() => parseViewerOptions({ names: ["http://desk.example"] })).toThrow(/viewer\.names\.0/);
  });
});
