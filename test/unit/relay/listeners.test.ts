import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { formatAddress, isLoopback, parseAddress } from "../../../common/address.ts";
import { parseConfiguration } from "../../../host/config.ts";
import { listenVsock, SocketError } from "../../../host/native/listener.ts";
import { closeDescriptor } from "../../../host/native/os-addon.ts";
import { IDLE_MS } from "../../../host/relay/listener.ts";
import { Relay } from "../../../host/relay/relay.ts";
import { vsockenc } from "../../../proto/protobuf.ts";
import { freePort } from "../../support/free-port.ts";
import { MemfdExporter } from "../../support/memfd/memfd-exporter.ts";
import { ConnectedGuest, HEIGHT, PICTURE_BYTES, WIDTH } from "../../support/relay-guest.ts";
import { until } from "../../support/until.ts";

const silent = pino({ level: "silent" });

let folder: string;
let relay: Relay | undefined;
const guests: ConnectedGuest[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "vsockenc-listen-"));
});
afterEach(() => {
  vi.useRealTimers();
  relay?.stop();
  relay = undefined;
  for (const guest of guests.splice(0)) guest.socket.destroy();
  rmSync(folder, { recursive: true });
});

async function start(text: string, log = silent): Promise<void> {
  const quiet = 'encoder.order = ["null"]\nstatus.enabled = false\n';
  relay = await Relay.start(parseConfiguration(quiet + text, "test"), log);
}

function guest(where: string | number): ConnectedGuest {
  const made = new ConnectedGuest(where);
  guests.push(made);
  return made;
}

/** Connects repeatedly until the relay accepts a client. */
async function admitted(path: string, what: string): Promise<void> {
  await until(async () => {
    const client = guest(path);
    client.hello();
    await until(() => client.closed || client.all("welcome").length > 0, "an answer");
    return !client.closed;
  }, what);
}

describe("a listener", () => {
  it("gives every UNIX client a session of its own, in a socket that is ours alone", async () => {
    const path = join(folder, "l");
    await start(`[[listen]]\naddress = "unix:${path}"`);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const clients = [guest(path), guest(path), guest(path)];
    for (const client of clients) await client.open(false);
    clients[1]?.send({ type: "bye", body: {} });
    clients[1]?.socket.destroy();
    clients[0]?.configure(1);
    clients[2]?.configure(1);
    for (const index of [0, 2]) await clients[index]?.next("configured", 1);
    expect(clients[0]?.all("error")).toEqual([]);
  });

  it("serves TCP on loopback", async () => {
    const port = await freePort();
    await start(`[[listen]]\naddress = "tcp:127.0.0.1:${port}"`);
    const client = guest(port);
    await client.open(false);
    client.attach(0, 1);
    expect((await client.next("error")).body.code).toBe(vsockenc.ErrorCode.NO_EXPORTER);
  });

  it("reaches the resources of the VM that it is bound to", async () => {
    const path = join(folder, "l");
    const exporter = new MemfdExporter({ path: join(folder, "e"), bytes: PICTURE_BYTES }, silent);
    try {
      exporter.create(1, { width: WIDTH, height: HEIGHT });
      await start(
        `[[vm]]\nname = "a"\nexport = "${folder}/e"\n[[listen]]\naddress = "unix:${path}"\nvm = "a"`,
      );
      const client = guest(path);
      await client.open();
      client.configure(1);
      client.attach(0, 1);
      client.frame(1, 0);
      await client.next("packet");
    } finally {
      exporter.close();
    }
  });

  it("rejects more clients than configured, and accepts one again after a disconnect", async () => {
    const path = join(folder, "l");
    await start(`[[listen]]\naddress = "unix:${path}"\nmax_clients = 1`);
    const first = guest(path);
    await first.open(false);
    const second = guest(path);
    await until(() => second.closed, "the refusal");
    first.socket.destroy();
    await admitted(path, "the free place");
  });

  it("closes a client that opens no session, and keeps one that does", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance"] });
    const path = join(folder, "l");
    await start(`[[listen]]\naddress = "unix:${path}"`);
    const idle = guest(path);
    // The relay greets whom it has let in, so its clock begins here.
    await idle.next("greeting");
    const busy = guest(path);
    await busy.open(false);
    for (let seconds = 1; seconds <= IDLE_MS / 1000; seconds++) {
      expect(idle.closed).toBe(false);
      vi.advanceTimersByTime(1000);
      busy.send({ type: "ping", body: { token: seconds } });
      await busy.next("pong", seconds);
    }
    await until(() => idle.closed, "the end of the idle one");
    expect(busy.closed).toBe(false);
  });

  it.each([
    ["in one piece", [Buffer.from("HXFR\x01\0\0\0\0\0\0\0")]],
    ["byte by byte", [..."HXFR"].map((byte) => Buffer.from(byte))],
  ])("logs a client of Helix's protocol that sends %s", async (_how, pieces) => {
    const path = join(folder, "l");
    const lines: string[] = [];
    await start(
      `[[listen]]\naddress = "unix:${path}"`,
      pino({ level: "error" }, { write: (line) => lines.push(line) }),
    );
    const socket = connect({ path });
    socket.on("error", () => undefined);
    socket.resume();
    const closed = new Promise((resolve) => socket.on("close", resolve));
    for (const piece of pieces) {
      await new Promise((resolve) => socket.write(piece, resolve));
    }
    await closed;
    expect(lines.join()).toContain("Helix");
  });

  it.skipIf(process.getuid?.() !== 0)("refuses other users, whatever the mode of the socket", async () => {
    const path = join(folder, "l");
    chmodSync(folder, 0o755);
    const script = join(folder, "connect.mjs");
    writeFileSync(
      script,
      `import { connect } from "node:net";
       const s = connect(process.argv[2]);
       s.on("error", (e) => { console.log(e.code); });
       s.on("data", () => { console.log("data"); process.exit(); });
       s.on("close", () => console.log("closed"));`,
    );
    const { spawn } = await import("node:child_process");
    const attempt = (user: number): Promise<string> =>
      new Promise((resolve) => {
        // Not by setuid() in the script, which Node refuses where io_uring may be on.
        const child = spawn(process.execPath, [script, path], { uid: user });
        let text = "";
        child.stdout.on("data", (chunk: Buffer) => {
          text += chunk.toString();
        });
        child.on("close", () => resolve(text.trim()));
      });
    await start(`[[listen]]\naddress = "unix:${path}"`);
    expect(await attempt(12345)).toContain("EACCES");
    chmodSync(path, 0o666);
    expect(await attempt(12345)).toMatch(/^(EPIPE|ECONNRESET|closed)/);
    relay?.stop();
    await start(`[[listen]]\naddress = "unix:${path}"\nusers = [12345]`);
    expect(await attempt(12345)).toBe("data");
    expect(await attempt(12346)).not.toContain("data");
  });

  it("survives clients that disconnect at once", async () => {
    const path = join(folder, "l");
    await start(`[[listen]]\naddress = "unix:${path}"`);
    for (let n = 0; n < 200; n++) {
      await new Promise<void>((resolve) => {
        const socket = connect({ path });
        socket.on("error", () => resolve());
        socket.on("connect", () => {
          socket.destroy();
          resolve();
        });
      });
    }
    await admitted(path, "a place");
  });

  it("names the remedy when it cannot listen", async () => {
    const port = await freePort();
    const other = createServer().listen(port, "127.0.0.1");
    await new Promise((resolve) => other.once("listening", resolve));
    await expect(start(`[[listen]]\naddress = "tcp:127.0.0.1:${port}"`)).rejects.toThrow(
      "choose another port",
    );
    other.close();
    await expect(start(`[[listen]]\naddress = "unix:${folder}/none/l"`)).rejects.toThrow(SocketError);
  });

  it("listens on vsock where the machine has it, and else says how to get it", () => {
    // Another process may run this test at the same time.
    const port = 0x1000_0000 + process.pid;
    let fd: number;
    try {
      fd = listenVsock(port);
    } catch (error) {
      expect(error).toBeInstanceOf(SocketError);
      expect(String(error)).toContain("vsock");
      return;
    }
    expect(() => listenVsock(port)).toThrow("in use");
    closeDescriptor(fd);
  });
});

describe("a chardev that connects", () => {
  it("is served one at a time, for as long as it lives", async () => {
    const path = join(folder, "p0");
    await start(`[[vm]]\nname = "a"\nchardev = "client"\nports = ["${path}"]`);
    const qemu = guest(path);
    await qemu.open(false);
    const intruder = guest(path);
    await until(() => intruder.closed, "the refusal of a second QEMU");
    qemu.socket.destroy();
    // QEMU reconnects, by reconnect-ms.
    await admitted(path, "the next connection");
  });

  it("leads to four ports of a VM at the same time", async () => {
    const paths = [0, 1, 2, 3].map((n) => join(folder, `p${n}`));
    const exporter = new MemfdExporter({ path: join(folder, "e"), bytes: 4 * PICTURE_BYTES }, silent);
    try {
      for (const id of [1, 2, 3, 4]) exporter.create(id, { width: WIDTH, height: HEIGHT });
      const ports = paths.map((path) => `"${path}"`).join(", ");
      await start(`[[vm]]\nname = "a"\nchardev = "client"\nexport = "${folder}/e"\nports = [${ports}]`);
      await Promise.all(
        paths.map(async (path, index) => {
          const client = guest(path);
          await client.open();
          client.configure(1);
          client.attach(0, index + 1);
          for (let frame = 1; frame <= 20; frame++) {
            client.frame(frame, 0);
            await client.next("packet", frame);
          }
          expect(client.all("error")).toEqual([]);
        }),
      );
      expect(exporter.held).toBe(4);
    } finally {
      exporter.close();
    }
  });
});

describe("addresses", () => {
  it.each([
    ["unix:/run/a:b.sock", { kind: "unix", path: "/run/a:b.sock" }],
    ["tcp:localhost:80", { kind: "tcp", host: "localhost", port: 80 }],
    ["tcp:[::1]:65535", { kind: "tcp", host: "::1", port: 65535 }],
    ["vsock:4294967294", { kind: "vsock", port: 4294967294 }],
  ])("reads and writes %s", (text, address) => {
    const parsed = parseAddress(text);
    expect(parsed).toEqual(address);
    expect(parsed && formatAddress(parsed)).toBe(text);
  });

  it.each([
    "",
    "unix:",
    "tcp:1",
    "tcp:::1:5",
    "tcp:h:99999",
    "vsock:0",
    "vsock:4294967295",
    "vsock:-1",
    "http:x:1",
  ])("refuses %j", (text) => expect(parseAddress(text)).toBeUndefined());

  it("knows loopback", () => {
    for (const host of ["127.0.0.1", "127.9.9.9", "::1", "localhost"]) expect(isLoopback(host)).toBe(true);
    for (const host of ["0.0.0.0", "::", "10.0.0.1", "127.0.0.1.example.org"])
      expect(isLoopback(host)).toBe(false);
  });
});
