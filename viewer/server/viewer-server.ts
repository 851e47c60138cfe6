/**
 * Serves the page and, at /watch, the pictures of sources to browsers: for the bridge in a guest and the relay on a host.
 */
import type { Logger } from "pino";
import type { Registry } from "prom-client";
import type { BitrateRange } from "../bitrate.ts";
import type { ViewerSource } from "../source.ts";
import type { ViewerOptions } from "./options.ts";

export interface ViewerServerSetup {
  readonly options: ViewerOptions;
  /** Folder with index.html and what it needs, as Vite builds it. Read once, at the start. */
  readonly page: string;
  /** Software and version, which the page shows, e.g. "vsockenc relay 0.1.0". */
  readonly software: string;
  /** Where the numbers for Prometheus are registered. */
  readonly registry: Registry;
  readonly log: Logger;
}

export interface SourceOptions {
  /** Within these the bit rate follows what the viewers' lines carry, from the highest on. Without it, it is left alone. */
  readonly bitrate?: BitrateRange | undefined;
}

export class ViewerServer {
  /**
   * Reads the page and the certificate, and listens.
   *
   * @throws ViewerOptionsError when a file cannot be used or the address cannot be listened on
   */
  static async start(_setup: ViewerServerSetup): Promise<ViewerServer> {
    return new ViewerServer();
  }

  /** What to open in a browser, with the token: for the eyes of who may watch, not for logs. */
  address(): string {
    return "";
  }

  /**
   * Offers a source; viewers that have been watching its id get it at once.
   *
   * @throws ViewerSourceError when the id is taken or is none, or there are too many
   */
  add(_source: ViewerSource, _options: SourceOptions = {}): void {}

  /** Takes a source away and stops it. Its viewers are told; if it is added again they get it back. */
  remove(_id: string): void {}

  /** Tells the viewers, closes every connection and stops every source. */
  async close(): Promise<void> {}
}
