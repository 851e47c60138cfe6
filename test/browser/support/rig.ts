/** The real server with the built page, and the distribution's Chromium. */
import { join } from "node:path";
import pino from "pino";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { Registry } from "prom-client";
import { afterAll, afterEach, beforeAll } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";
import type { Point } from "../../../viewer/page/player/unit.ts";
import type { TestHook } from "../../../viewer/page/test-hook.ts";
import { VIEWER_PAGE } from "../../../viewer/server/http/page-files.ts";
import { parseViewerOptions } from "../../../viewer/server/options.ts";
import type { ViewerSource } from "../../../viewer/server/source.ts";
import { ViewerServer } from "../../../viewer/server/viewer-server.ts";
import { COUNTER_POINTS, counterOf } from "../../support/counter.ts";
import { until } from "../../support/until.ts";
import { PlayedSource, type PlayedSourceOptions } from "./played-source.ts";
import { type Recording, type RecordingOptions, record } from "./recording.ts";

/** Not a secure context for Chromium. */
export const INSECURE_HOST = "viewer.test";
const CHROMIUM = process.env["VSOCKENC_CHROMIUM"] ?? "/usr/bin/chromium";

export interface PageOptions {
  /** Of a server other than the rig's own, with its token. */
  readonly address?: string;
  readonly host?: string;
  /** The watched source; absent: the list. */
  readonly source?: string;
  /** false: an address without #/, so that the page chooses. */
  readonly list?: boolean;
  readonly token?: string;
  readonly context?: BrowserContextOptions;
  /** Runs in the page before its own code. */
  readonly before?: () => void;
}

/** Server, browser and recording for the tests of a file, which end with it. */
export function useRig(options: RecordingOptions) {
  const rig = new Rig();
  let recording: Recording;
  beforeAll(async () => {
    await rig.start();
    recording = await record(options);
  });
  afterEach(() => rig.clear());
  afterAll(() => rig.stop());
  type Options = Partial<Omit<PlayedSourceOptions, "id">>;
  const play = (id: string, source: Options = {}) => new PlayedSource({ id, recording, ...source });
  return {
    rig,
    play,
    /** A page that watches a running source, desk/0. */
    async watch(source: Options = {}, page: PageOptions = {}) {
      const played = play("desk/0", source);
      rig.add(played);
      const viewer = await rig.open({ source: "desk/0", ...page });
      await until(() => played.running, "the source's start");
      return { source: played, viewer };
    },
  };
}

export class Rig {
  readonly #sources = new Set<string>();
  #running: { readonly browser: Browser; readonly server: ViewerServer; readonly port: number } | undefined;

  get #parts() {
    if (this.#running === undefined) throw new Error("the rig has not been started");
    return this.#running;
  }

  static async start(): Promise<Rig> {
    const rig = new Rig();
    await rig.start();
    return rig;
  }

  async start(): Promise<void> {
    const args = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"];
    const browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: [...args, `--host-resolver-rules=MAP ${INSECURE_HOST} 127.0.0.1`],
    });
    const server = await startServer(0);
    this.#running = { browser, server, port: Number(new URL(server.address()).port) };
  }

  async stop(): Promise<void> {
    await this.#parts.browser.close();
    await this.#parts.server.close();
  }

  add(...sources: readonly ViewerSource[]): void {
    for (const source of sources) {
      this.#parts.server.add(source);
      this.#sources.add(source.id);
    }
  }

  remove(id: string): void {
    this.#parts.server.remove(id);
    this.#sources.delete(id);
  }

  /** Closes all pages and removes all sources, after each test. */
  async clear(): Promise<void> {
    await Promise.all(this.#parts.browser.contexts().map((context) => context.close()));
    for (const id of [...this.#sources]) this.remove(id);
  }

  stopServer(): Promise<void> {
    return this.#parts.server.close();
  }

  /** After `stopServer`, at the same address and without sources. */
  async startServerAgain(): Promise<void> {
    this.#sources.clear();
    const server = await startServer(this.#parts.port);
    this.#running = { ...this.#parts, server };
  }

  async open(options: PageOptions = {}): Promise<ViewedPage> {
    const context = await this.#parts.browser.newContext({
      viewport: { width: 1280, height: 720 },
      ...options.context,
    });
    const page = await context.newPage();
    const problems: string[] = [];
    page.on("pageerror", (error) => problems.push(error.message));
    page.on("request", (request) => {
      const { hostname, protocol } = new URL(request.url());
      if (protocol !== "blob:" && ![INSECURE_HOST, "127.0.0.1"].includes(hostname))
        problems.push(request.url());
    });
    if (options.before !== undefined) await page.addInitScript(options.before);
    const url = new URL(options.address ?? this.#parts.server.address());
    if (options.host !== undefined) url.hostname = options.host;
    if (options.token !== undefined) url.searchParams.set("token", options.token);
    url.searchParams.set("test", "");
    // The list first, so that no picture is painted before `probe`.
    if (options.list !== false) url.hash = "/";
    await page.goto(url.href);
    await page.waitForFunction(() => document.readyState === "complete");
    await page.evaluate((points: Point[]) => window.vsockencTest?.probe(points), COUNTER_POINTS);
    const viewer = new ViewedPage(page, problems);
    if (options.source !== undefined) await viewer.watch(options.source);
    return viewer;
  }
}

const TOKEN = "test-token-0123456789";

function startServer(port: number): Promise<ViewerServer> {
  return ViewerServer.start({
    options: parseViewerOptions({ port, token: TOKEN, names: [INSECURE_HOST] }),
    page: VIEWER_PAGE,
    software: "vsockenc test",
    registry: new Registry(),
    log: pino({ level: "silent" }),
  });
}

/** A page, for a test. */
export class ViewedPage {
  readonly page: Page;
  /** Errors of the page's code, and requests to other hosts. */
  readonly problems: readonly string[];

  constructor(page: Page, problems: readonly string[]) {
    this.page = page;
    this.problems = problems;
  }

  /** As a click on the list entry. */
  async watch(source: string): Promise<void> {
    await this.page.evaluate((hash) => location.assign(hash), `#/${source}`);
  }

  /** All paints so far; see the page's test-hook.ts. */
  paints(): Promise<TestHook["paints"]> {
    return this.page.evaluate(() => window.vsockencTest?.paints ?? []);
  }

  drops(): Promise<TestHook["drops"]> {
    return this.page.evaluate(() => window.vsockencTest?.drops ?? []);
  }

  /** The counters in the painted pictures' pixels; undefined for a damaged one. */
  async counters(): Promise<(number | undefined)[]> {
    return (await this.paints()).map(({ luma = [] }) => counterOf(luma));
  }

  async untilPainted(count: number): Promise<void> {
    await until(async () => (await this.paints()).length >= count, `${count} paints`);
  }

  /** Waits for pictures with `count` different counters: on a slow guest, many pictures may show the same one. */
  async untilCounted(count: number): Promise<void> {
    const different = async () => new Set((await this.counters()).filter((counter) => counter !== undefined));
    await until(async () => (await different()).size >= count, `${count} different counters`);
  }

  /** Sends a frame, and returns after it was painted: a decoder that holds it back until the next one hangs here. */
  async sendAndSee(source: PlayedSource): Promise<void> {
    source.send();
    const { delivered } = source;
    await until(async () => (await this.paints()).at(-1)?.number === delivered, `frame ${delivered}`);
  }

  /** Title and text of the notice; undefined if there is none. */
  async notice(): Promise<{ title: string; text: string } | undefined> {
    if (!(await this.page.locator("#notice").isVisible())) return undefined;
    const [title, text] = await this.page.locator("#notice-title, #notice-text").allTextContents();
    return { title: title ?? "", text: text ?? "" };
  }

  async untilNotice(text: RegExp): Promise<void> {
    let last = "";
    const matches = async (): Promise<boolean> => {
      const { title, text: sentence } = (await this.notice()) ?? { title: "", text: "" };
      last = `${title} | ${sentence}`;
      return text.test(last);
    };
    await until(matches, `the notice ${text}`).catch((error: Error) => {
      throw new Error(`${error.message}; it was: ${last}`);
    });
  }

  /** Takes a screenshot, which is kept after the run. */
  async shot(name: string): Promise<void> {
    await this.page.screenshot({ path: join(packageRoot, "out", "browser", `${name}.png`) });
  }
}
