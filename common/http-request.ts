import type { IncomingMessage } from "node:http";

/**
 * The target of a request: path and query of its URL, and the host name of its Host header, without the port and without the
 * brackets of an IPv6 address.
 *
 * Nothing in a request is trusted: an invalid path or host becomes empty.
 *
 * The two are parsed separately, because a path that begins with two slashes would be parsed as another host.
 */
export function requestTarget({ url = "", headers }: IncomingMessage) {
  const host = `http://${headers.host ?? ""}`;
  const hostname = URL.canParse(host) ? new URL(host).hostname.replace(/^\[|\]$/g, "") : "";
  const path = `http://host${url}`;
  if (!url.startsWith("/") || !URL.canParse(path)) {
    return { pathname: "", query: new URLSearchParams(), hostname };
  }
  const { pathname, searchParams } = new URL(path);
  return { pathname, query: searchParams, hostname };
}
