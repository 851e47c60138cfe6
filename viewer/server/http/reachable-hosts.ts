/** By which hosts browsers reach a server that listens on an address. */
import { isIPv6 } from "node:net";
import type { NetworkInterfaceInfo } from "node:os";

/** The part of os.networkInterfaces() that is read here. */
export type Interfaces = Readonly<
  Record<string, readonly Pick<NetworkInterfaceInfo, "address" | "family" | "internal">[] | undefined>
>;

/**
 * As they stand in URLs: the one for a browser on this machine first, then, where all addresses are listened on, those
 * of the interfaces. Link-local addresses of IPv6 are left out: browsers take none, as they need the interface's name.
 */
export function reachableHosts(host: string, interfaces: Interfaces): string[] {
  if (host !== "0.0.0.0" && host !== "::") return [inUrl(host)];
  const others = Object.values(interfaces)
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal, address }) => !internal && !/^fe[89ab]/i.test(address))
    // Who listens on :: takes IPv4 as well.
    .filter(({ family }) => host === "::" || family === "IPv4");
  return [host === "::" ? "[::1]" : "127.0.0.1", ...others.map(({ address }) => inUrl(address))];
}

function inUrl(host: string): string {
  return isIPv6(host) ? `[${host}]` : host;
}
