/** The hosts under which browsers reach a server that listens on an address. */
import { isIPv6 } from "node:net";
import type { NetworkInterfaceInfo } from "node:os";

/** The part of os.networkInterfaces() that is read here. */
export type Interfaces = Readonly<
  Record<string, readonly Pick<NetworkInterfaceInfo, "address" | "family" | "internal">[] | undefined>
>;

/**
 * In URL form: first the host for a browser on this machine, then, if the server listens on all addresses, those of the
 * interfaces. IPv6 link-local addresses are omitted: they need an interface name, which browsers do not accept.
 */
export function reachableHosts(host: string, interfaces: Interfaces): string[] {
  if (host !== "0.0.0.0" && host !== "::") return [inUrl(host)];
  const others = Object.values(interfaces)
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal, address }) => !internal && !/^fe[89ab]/i.test(address))
    // A server on :: accepts IPv4 as well.
    .filter(({ family }) => host === "::" || family === "IPv4");
  return [host === "::" ? "[::1]" : "127.0.0.1", ...others.map(({ address }) => inUrl(address))];
}

function inUrl(host: string): string {
  return isIPv6(host) ? `[${host}]` : host;
}
