/** The real server with the page as it is built, and the distribution's Chromium. */
import { join } from "node:path";
import pino from "pino";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { Registry } from "prom-client";
import { packageRoot } from "../../../common/package-root.ts";
import type { Point } from "../../../viewer/page/player/unit.ts";
import type { TestHook } from "../../../viewer/page/test-hook.ts";
import { VIEWER_PAGE } from "../../../viewer/server/http/page-files.ts";
import { parseViewerOptions } from "../../../viewer/server/options.ts";
import type { ViewerSource } from "../../../viewer/server/source.ts";
import { ViewerServer } from "../../../viewer/server/viewer-server.ts";
import { COUNTER_POINTS, counterOf } from "../../support/counter.ts";
import { until } from "../../support/until.ts";

/** Chromium takes it for what it is: no secure context. */
export const INSECURE_HOST = "viewer.test";
const CHROMIUM = process.env["VSOCKENC_CHROMIUM"] ?? "/usr/bin/chromium";
/** Pictures for people, kept after the run. */
const SHOTS = join(packageRoot, "out", "browser");

export interface PageOptions {
  /** Of another server than the rig's own, token included. */
  readonly address?: string;
  readonly host?: string;
  /** To be watched; absent: the list. */
  readonly source?: string;
  /** false: an address without #/, which leaves the choice to the page. */
  readonly list?: boolean;
  readonly token?: string;
  readonly context?: BrowserContextOptions;
  /** Runs in the page before anything of it. */
  readonly before?: () => void;
}

export class Rig {
  readonly browser: Browser;
  readonly #sources = new Set<string>();
  #server: ViewerServer;
  readonly #port: number;

  private constructor(server: ViewerServer, browser: Browser) {
    this.#server = server;
    this.#port = Number(new URL(server.address()).port);
    this.browser = browser;
  }

  static async start(): Promise<Rig> {
    const args = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"];
    const browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: [...args, `--host-resolver-rules=MAP ${INSECURE_HOST} 127.0.0.1`],
    });
    return new Rig(await startServer(0), browser);
  }

  async stop(): Promise<void> {
    await this.browser.close();
    await this.#server.close();
  }

  add(...sources: readonly ViewerSource[]): void {
    for (const source of sources) {
      this.#server.add(source);
      this.#sources.add(source.id);
    }
  }

  remove(id: string): void {
    this.#server.remove(id);
    this.#sources.delete(id);
  }

  /** Closes all pages and takes all sources away: what a test left must not reach the next one. */
  async clear(): Promise<void> {
    await Promise.all(this.browser.contexts().map((context) => context.close()));
    for (const id of [...this.#sources]) this.remove(id);
  }

  stopServer(): Promise<void> {
    return this.#server.close();
  }

  /** After `stopServer`, at the same address; with the sources that the test adds. */
  async startServerAgain(): Promise<void> {
    this.#sources.clear();
    this.#server = await startServer(this.#port);
  }

  async open(options: PageOptions = {}): Promise<ViewedPage> {
    const context = await this.browser.newContext({
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
    const url = new URL(options.address ?? this.#server.address());
    if (options.host !== undefined) url.hostname = options.host;
    if (options.token !== undefined) url.searchParams.set("token", options.token);
    url.searchParams.set("test", "");
    // The list first: no picture is to be painted before its pixels are read.
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

/** What a test looks at. */
export class ViewedPage {
  readonly page: Page;
  /** Errors of the page's code, and requests to elsewhere. */
  readonly problems: readonly string[];

  constructor(page: Page, problems: readonly string[]) {
    this.page = page;
    this.problems = problems;
  }

  /** As if its entry in the list were clicked. */
  async watch(source: string): Promise<void> {
    await this.page.evaluate((hash) => location.assign(hash), `#/${source}`);
  }

  /** What was painted so far; see the page's test-hook.ts. */
  paints(): Promise<TestHook["paints"]> {
    return this.page.evaluate(() => window.vsockencTest?.paints ?? []);
  }

  drops(): Promise<TestHook["drops"]> {
    return this.page.evaluate(() => window.vsockencTest?.drops ?? []);
  }

  /** The counters of the painted pictures, as their pixels show them; undefined for a spoiled one. */
  async counters(): Promise<(number | undefined)[]> {
    return (await this.paints()).map(({ luma = [] }) => counterOf(luma));
  }

  async untilPainted(count: number): Promise<void> {
    await until(async () => (await this.paints()).length >= count, `${count} paints`);
  }

  /** Title and text of what stands in the picture's place; undefined when nothing does. */
  async notice(): Promise<{ title: string; text: string } | undefined> {
    const notice = this.page.locator("#notice");
    if (!(await notice.isVisible())) return undefined;
    return {
      title: (await this.page.locator("#notice-title").textContent()) ?? "",
      text: (await this.page.locator("#notice-text").textContent()) ?? "",
    };
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

  /** Keeps a picture of the page for people. */
  async shot(name: string): Promise<void> {
    await this.page.screenshot({ path: join(SHOTS, `${name}.png`) });
  }
}
