/** The page's files, read once and kept in memory: no request path can reach any other file. */
import { createHash } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { extname, join, relative, sep } from "node:path";
import { errorText } from "../../../common/error-text.ts";
import { packageRoot } from "../../../common/package-root.ts";
import { VIEWER_LIMITS } from "../../../proto/viewer-limits.ts";
import { ViewerOptionsError } from "../options.ts";

/** The output of `npm run build:viewer`. */
export const VIEWER_PAGE = join(packageRoot, "dist", "viewer", "page");

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** File names here contain a hash of the content (Vite's `assets`), so the files never change. */
const HASHED_FOLDER = "/assets/";

/** Only this server's content; MediaSource and canvas images need blob: and data:. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data: blob:",
  "media-src 'self' blob:",
  "worker-src 'self' blob:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

/** For every response. The page's address contains the token, so it must not be sent as a referrer. */
const SECURITY_HEADERS: Readonly<Record<string, string>> = {
  "Content-Security-Policy": CONTENT_SECURITY_POLICY,
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
};

interface PageFile {
  readonly body: Buffer;
  readonly type: string;
  readonly cache: string;
  readonly tag: string;
}

export class PageFiles {
  readonly #files: ReadonlyMap<string, PageFile>;

  private constructor(files: ReadonlyMap<string, PageFile>) {
    this.#files = files;
  }

  /**
   * Reads the folder of a built page; symbolic links are not followed.
   *
   * @throws ViewerOptionsError when there is no index.html, or more than PAGE_FILES or PAGE_BYTES
   */
  static async read(folder: string): Promise<PageFiles> {
    const files = new Map<string, PageFile>();
    let bytes = 0;
    const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(
      (error: unknown) => {
        const reason = errorText(error);
        throw new ViewerOptionsError(`cannot read the page (${reason}): build it with npm run build:viewer`);
      },
    );
    for (const entry of entries.filter((one) => one.isFile())) {
      const path = join(entry.parentPath, entry.name);
      bytes += (await stat(path)).size;
      if (files.size === VIEWER_LIMITS.PAGE_FILES || bytes > VIEWER_LIMITS.PAGE_BYTES) {
        const limits = `${VIEWER_LIMITS.PAGE_FILES} files and ${VIEWER_LIMITS.PAGE_BYTES} bytes`;
        throw new ViewerOptionsError(
          `the page in ${folder} is larger than ${limits}: name the folder of a built page`,
        );
      }
      const name = `/${relative(folder, path).split(sep).join("/")}`;
      const body = await readFile(path);
      files.set(name, {
        body,
        type: CONTENT_TYPES[extname(name)] ?? "application/octet-stream",
        cache: name.startsWith(HASHED_FOLDER) ? "public, max-age=31536000, immutable" : "no-cache",
        tag: `"${createHash("sha256").update(body).digest("base64url")}"`,
      });
    }
    const index = files.get("/index.html");
    if (index === undefined)
      throw new ViewerOptionsError(`${folder} has no index.html: build the page with npm run build:viewer`);
    files.set("/", index);
    return new PageFiles(files);
  }

  /** Responds to a GET or HEAD. */
  answer(request: IncomingMessage, response: ServerResponse, pathname: string): void {
    const file = this.#files.get(pathname);
    if (file === undefined) {
      answerText(response, 404, "no such file; the page is at /");
      return;
    }
    const headers = { ...SECURITY_HEADERS, "Cache-Control": file.cache, ETag: file.tag };
    if (request.headers["if-none-match"] === file.tag) {
      response.writeHead(304, headers).end();
      return;
    }
    response.writeHead(200, { ...headers, "Content-Type": file.type, "Content-Length": file.body.length });
    response.end(request.method === "HEAD" ? undefined : file.body);
  }
}

/** Responds with a sentence. */
export function answerText(response: ServerResponse, status: number, text: string): void {
  const headers = { "Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store" };
  response.writeHead(status, { ...SECURITY_HEADERS, ...headers });
  response.end(response.req.method === "HEAD" ? undefined : `${text}\n`);
}
