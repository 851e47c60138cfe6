/**
 * The page's files, read once and kept in memory: what is not among them cannot be asked for, however a path is spelt.
 */

import { createHash } from "node:crypto";
import type { Dirent } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { extname, join, relative, sep } from "node:path";
import { errorText } from "../../../common/error-text.ts";
import { packageRoot } from "../../../common/package-root.ts";
import { VIEWER_LIMITS } from "../../../proto/viewer-limits.ts";
import { ViewerOptionsError } from "../options.ts";

/** The page as `npm run build:viewer` makes it. */
export const VIEWER_PAGE = join(packageRoot, "dist", "viewer", "page");

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json",
  ".map": "application/json",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".ico": "image/x-icon",
  ".wasm": "application/wasm",
  ".woff2": "font/woff2",
  ".txt": "text/plain; charset=utf-8",
  ".webmanifest": "application/manifest+json",
};

/** Names of files in here carry a hash of their content (Vite's `assets`), so they never change. */
const HASHED_FOLDER = "/assets/";

/** Everything from here and nothing from elsewhere; blob: is what MediaSource and pictures of a canvas are made of. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data: blob:",
  "media-src 'self' blob:",
  "font-src 'self'",
  "worker-src 'self' blob:",
  "connect-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

/** Of every answer. The token is in the page's address, which must not go elsewhere as a referrer. */
export const SECURITY_HEADERS: Readonly<Record<string, string>> = {
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
   * Reads a folder as a page's build leaves it; symbolic links are not followed.
   *
   * @throws ViewerOptionsError when there is no index.html, or more than PAGE_FILES or PAGE_BYTES
   */
  static async read(folder: string): Promise<PageFiles> {
    const files = new Map<string, PageFile>();
    let bytes = 0;
    for (const entry of await filesBelow(folder)) {
      const path = join(entry.parentPath, entry.name);
      bytes += (await stat(path)).size;
      if (files.size === VIEWER_LIMITS.PAGE_FILES || bytes > VIEWER_LIMITS.PAGE_BYTES) {
        const limits = `${VIEWER_LIMITS.PAGE_FILES} files and ${VIEWER_LIMITS.PAGE_BYTES} bytes`;
        throw new ViewerOptionsError(
          `the viewer's page in ${folder} is larger than ${limits}; is it its folder?`,
        );
      }
      const name = `/${relative(folder, path).split(sep).join("/")}`;
      files.set(name, pageFile(name, await readFile(path)));
    }
    const index = files.get("/index.html");
    if (index === undefined)
      throw new ViewerOptionsError(`${folder} has no index.html: build the page with npm run build:viewer`);
    files.set("/", index);
    return new PageFiles(files);
  }

  /** Answers a GET or HEAD. */
  answer(request: IncomingMessage, response: ServerResponse, pathname: string): void {
    const file = this.#files.get(pathname);
    if (file === undefined) {
      answerText(response, 404, "there is no such file; the page is at /");
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

/** Answers with a sentence. */
export function answerText(response: ServerResponse, status: number, text: string): void {
  const headers = { "Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store" };
  response.writeHead(status, { ...SECURITY_HEADERS, ...headers });
  response.end(response.req.method === "HEAD" ? undefined : `${text}\n`);
}

async function filesBelow(folder: string): Promise<Dirent[]> {
  try {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true });
    return entries.filter((entry) => entry.isFile());
  } catch (error) {
    const reason = errorText(error);
    throw new ViewerOptionsError(
      `the viewer's page cannot be read (${reason}): build it with npm run build:viewer`,
    );
  }
}

function pageFile(name: string, body: Buffer): PageFile {
  return {
    body,
    type: CONTENT_TYPES[extname(name)] ?? "application/octet-stream",
    cache: name.startsWith(HASHED_FOLDER) ? "public, max-age=31536000, immutable" : "no-cache",
    tag: `"${createHash("sha256").update(body).digest("base64url")}"`,
  };
}
