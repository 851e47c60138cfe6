import type { IncomingMessage } from "node:http";

/** Where a request goes by its own words. */
export interface RequestTarget {
  readonly pathname: string;
  readonly query: URLSearchParams;
  /** Of the Host header, without the port and without the brackets of an IPv6 address. */
  readonly hostname: string;
}

/**
 * Nothing of a request is trusted: what is no path or no host is empty.
 *
 * The two are read apart, because a path that begins with two slashes would be read as another host.
 */
export function requestTarget({ url = "", headers }: IncomingMessage): RequestTarget {
  const host = `http://${headers.host ?? ""}`;
  const hostname = URL.canParse(host) ? new URL(host).hostname.replace(/^\[|\]$/g, "") : "";
  const path = `http://host${url}`;
  if (!url.startsWith("/") || !URL.canParse(path)) {
    return { pathname: "", query: new URLSearchParams(), hostname };
  }
  const { pathname, searchParams } = new URL(path);
  return { pathname, query: searchParams, hostname };
}
