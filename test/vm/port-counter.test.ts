/** The counting proxy between a fake relay and a fake QEMU. */
import { once } from "node:events";
import { mkdtempSync, readFileSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { temporaryFolder } from "../support/folder.ts";
import { until } from "../support/until.ts";
import { PortCounter } from "./port-counter.ts";

const folder = temporaryFolder();
let directory: string;
let counter: PortCounter;
let qemu: Server;
const links: Socket[] = [];

beforeEach(async () => {
  directory = mkdtempSync(join(folder, "count-"));
  qemu = createServer((socket) => links.push(socket.on("error", () => {})));
  await new Promise<void>((resolve) => qemu.listen(join(directory, "qemu.sock"), resolve));
  counter = new PortCounter({
    listenPath: join(directory, "counter.sock"),
    targetPath: join(directory, "qemu.sock"),
    recordTo: directory,
    recordLimit: 10,
  });
  await counter.start();
});

afterEach(async () => {
  await counter.stop();
  qemu.close();
  for (const link of links.splice(0)) link.destroy();
});

function link(index: number): Promise<Socket> {
  return until(() => links[index], "a connection to QEMU");
}

it("counts both directions and records the first bytes", async () => {
  const relay = connect(counter.listenPath);
  const guest = await link(0);
  guest.write(Buffer.alloc(300_000, 1));
  relay.write("hello");
  let received = 0;
  relay.on("data", (data) => {
    received += data.length;
  });
  await until(() => received === 300_000, "the guest's bytes");
  await until(() => counter.counts().hostToGuest === 5, "the relay's bytes");
  expect(counter.counts()).toEqual({ guestToHost: 300_000, hostToGuest: 5 });
  relay.destroy();
  await counter.stop();
  expect(readFileSync(join(directory, "guest-to-host.bin"))).toEqual(Buffer.alloc(10, 1));
  expect(readFileSync(join(directory, "host-to-guest.bin"), "utf8")).toBe("hello");
});

it("drops QEMU's connection when the relay goes, and opens another for the next one", async () => {
  const first = connect(counter.listenPath);
  const guest = await link(0);
  guest.resume();
  first.destroy();
  await once(guest, "close");
  const second = connect(counter.listenPath);
  await link(1);
  expect(counter.connections).toBe(2);
  second.destroy();
});

it("drops the relay when QEMU goes, or is not there", async () => {
  const relay = connect(counter.listenPath).resume();
  (await link(0)).destroy();
  await once(relay, "close");
  qemu.close();
  links.splice(0);
  const late = connect(counter.listenPath).resume();
  await once(late, "close");
});

it("lets a second client wait", async () => {
  const first = connect(counter.listenPath);
  await link(0);
  const second = connect(counter.listenPath);
  await once(second, "connect");
  second.write("mine");
  expect(links.length).toBe(1);
  first.destroy();
  const [data] = (await once(await link(1), "data")) as [Buffer];
  expect(data.toString()).toBe("mine");
  second.destroy();
});
