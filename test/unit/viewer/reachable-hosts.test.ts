import { expect, it } from "vitest";
import { type Interfaces, reachableHosts } from "../../../viewer/server/http/reachable-hosts.ts";

const INTERFACES: Interfaces = {
  lo: [
    { address: "127.0.0.1", family: "IPv4", internal: true },
    { address: "::1", family: "IPv6", internal: true },
  ],
  eth0: [
    { address: "10.0.2.15", family: "IPv4", internal: false },
    { address: "2001:db8::5", family: "IPv6", internal: false },
    { address: "fe80::5054:ff:fe12:3456", family: "IPv6", internal: false },
  ],
  gone: undefined,
};

it.each([
  ["127.0.0.1", ["127.0.0.1"]],
  ["localhost", ["localhost"]],
  ["::1", ["[::1]"]],
  ["10.0.2.15", ["10.0.2.15"]],
  ["0.0.0.0", ["127.0.0.1", "10.0.2.15"]],
  ["::", ["[::1]", "10.0.2.15", "[2001:db8::5]"]],
])("a server on %s is reached at %s", (host, hosts) => {
  expect(reachableHosts(host, INTERFACES)).toEqual(hosts);
});
