/** Addresses to listen on: `unix:PATH`, `tcp:HOST:PORT` or `vsock:PORT`. */

export type Address =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "vsock"; readonly port: number };

const MAX_TCP_PORT = 0xffff;
/** The last is VMADDR_PORT_ANY. */
const MAX_VSOCK_PORT = 0xffff_fffe;

/** Parses an address; undefined if it is invalid. */
export function parseAddress(text: string): Address | undefined {
  const [, kind, rest = ""] = /^(unix|tcp|vsock):(.+)$/s.exec(text) ?? [];
  if (kind === "unix") return { kind, path: rest };
  if (kind === "vsock") {
    const port = portNumber(rest, MAX_VSOCK_PORT);
    return port === undefined ? undefined : { kind, port };
  }
  if (kind === "tcp") {
    const [, bracketed, plain, digits = ""] = /^(?:\[([\da-f:.]+)\]|([^:[\]]+)):(\d+)$/i.exec(rest) ?? [];
    const host = bracketed ?? plain;
    const port = portNumber(digits, MAX_TCP_PORT);
    return host === undefined || port === undefined ? undefined : { kind, host, port };
  }
  return undefined;
}

/** In the notation of parseAddress. */
export function formatAddress(address: Address): string {
  switch (address.kind) {
    case "unix":
      return `unix:${address.path}`;
    case "tcp":
      return `tcp:${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`;
    case "vsock":
      return `vsock:${address.port}`;
  }
}

/** Whether only programs on this machine, and guests whose network it emulates, can reach the address. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}

function portNumber(text: string, max: number): number | undefined {
  const port = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  return port >= 1 && port <= max ? port : undefined;
}
