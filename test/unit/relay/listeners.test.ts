import { spawn } from "node:child_process";
import { chmodSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { pino } from "pino";
import { afterEach, describe, expect, it, vi } from "vitest";
import { formatAddress, isLoopback, parseAddress } from "../../../common/address.ts";
import { LINES_PER_SECOND } from "../../../common/log-limit.ts";
import { ACCEPTS_PER_SECOND, FdListener, listenVsock, SocketError } from "../../../host/native/listener.ts";
import { closeDescriptor } from "../../../host/native/os-addon.ts";
import { IDLE_MS } from "../../../host/relay/session-peer.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { vsockenc } from "../../../proto/protobuf.ts";
import { freePort } from "../../support/free-port.ts";
import { relayBench } from "../../support/relay-bench.ts";
import { until } from "../../support/until.ts";

const bench = relayBench();
afterEach(() => vi.useRealTimers());

/** Starts a relay that listens in the folder of the test. @returns the socket's path */
async function listen(more = "", log?: pino.Logger): Promise<string> {
  const path = bench.path("l");
  await bench.start(`[[listen]]\naddress = "unix:${path}"\n${more}`, { log });
  return path;
}

describe("a listener", () => {
  it("gives every UNIX client a session of its own, in a socket that is ours alone", async () => {
    const path = await listen();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const clients = await Promise.all([0, 1, 2].map(() => bench.opened(false)));
    clients[1]?.send({ type: "bye", body: {} });
    clients[1]?.socket.destroy();
    clients[0]?.configure(1);
    clients[2]?.configure(1);
    for (const index of [0, 2]) await clients[index]?.next("configured", 1);
    expect(clients[0]?.all("error")).toEqual([]);
  });

  it("serves TCP on loopback", async () => {
    const port = await freePort();
    await bench.start(`[[listen]]\naddress = "tcp:127.0.0.1:${port}"`);
    const client = await bench.opened(false, port);
    client.attach(0, 1);
    expect((await client.next("error")).body.code).toBe(vsockenc.ErrorCode.NO_EXPORTER);
  });

  it("reaches the resources of the VM that it is bound to", async () => {
    await bench.listen(true);
    const client = await bench.streaming();
    client.frame(1, 0);
    await client.next("packet");
  });

  it("rejects more clients than configured, and accepts one again after a disconnect", async () => {
    const path = await listen("max_clients = 1");
    const first = await bench.opened(false, path);
    const second = bench.guest(path);
    await until(() => second.closed, "the refusal");
    first.socket.destroy();
    await bench.admitted(path);
  });

  it("closes a client that opens no session, and keeps one that does", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance"] });
    const path = await listen();
    const idle = bench.guest(path);
    // The relay greets whom it has let in, so its clock begins here.
    await idle.next("greeting");
    const busy = await bench.opened(false, path);
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
    const lines: string[] = [];
    const path = await listen("", pino({ level: "error" }, { write: (line) => lines.push(line) }));
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
    chmodSync(bench.folder, 0o755);
    const script = bench.path("connect.mjs");
    writeFileSync(
      script,
      `import { connect } from "node:net";
       const s = connect(process.argv[2]);
       s.on("error", (e) => { console.log(e.code); });
       s.on("data", () => { console.log("data"); process.exit(); });
       s.on("close", () => console.log("closed"));`,
    );
    const path = await listen();
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
    expect(await attempt(12345)).toContain("EACCES");
    chmodSync(path, 0o666);
    expect(await attempt(12345)).toMatch(/^(EPIPE|ECONNRESET|closed)/);
    bench.stop();
    await listen("users = [12345]");
    expect(await attempt(12345)).toBe("data");
    expect(await attempt(12346)).not.toContain("data");
  });

  it("survives clients that disconnect at once", async () => {
    const path = await listen();
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
    await bench.admitted(path);
  });

  it("accepts a bounded number of connections in a second, and the others later", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    const path = bench.path("bounded");
    let accepted = 0;
    const listener = FdListener.listen(path, (fd) => {
      accepted += 1;
      closeDescriptor(fd);
    });
    /** Connects; false if the system's queue is full. */
    const attempt = (): Promise<boolean> =>
      new Promise((resolve) => {
        const socket = connect({ path });
        socket.on("error", () => resolve(false));
        socket.on("connect", () => resolve(true));
      });
    await until(async () => !(await attempt()), "a full queue");
    expect(accepted).toBe(ACCEPTS_PER_SECOND);
    vi.advanceTimersByTime(100);
    const more = ACCEPTS_PER_SECOND / 10;
    await until(() => accepted >= ACCEPTS_PER_SECOND + more, "those that have waited");
    await until(async () => !(await attempt()), "a full queue");
    expect(accepted).toBe(ACCEPTS_PER_SECOND + more);
    listener.close();
  });

  it("logs a bounded number of lines, whatever its clients do", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    const lines: string[] = [];
    const path = await listen("", pino({ level: "info" }, { write: (line) => lines.push(line) }));
    for (let round = 0; round < 10; round++) {
      const guest = await bench.opened(false, path);
      const text = "x".repeat(LIMITS.MAX_TEXT_BYTES);
      for (let n = 0; n < 20; n++) guest.send({ type: "error", body: { text } });
      guest.send({ type: "ping", body: { token: 1 } });
      await guest.next("pong", 1);
      guest.socket.destroy();
    }
    expect(lines.length).toBeLessThan(2 * LINES_PER_SECOND);
    expect(Math.max(...lines.map(({ length }) => length))).toBeLessThan(1000);
  });

  it("names the remedy when it cannot listen", async () => {
    const port = await freePort();
    const other = createServer().listen(port, "127.0.0.1");
    await new Promise((resolve) => other.once("listening", resolve));
    await expect(bench.start(`[[listen]]\naddress = "tcp:127.0.0.1:${port}"`)).rejects.toThrow(
      "choose another port",
    );
    other.close();
    await expect(bench.start(`[[listen]]\naddress = "unix:${bench.folder}/none/l"`)).rejects.toThrow(
      SocketError,
    );
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
    const path = bench.path("p0");
    await bench.start(`[[vm]]\nname = "a"\nchardev = "client"\nports = ["${path}"]`);
    const qemu = await bench.opened(false, path);
    const intruder = bench.guest(path);
    await until(() => intruder.closed, "the refusal of a second QEMU");
    qemu.socket.destroy();
    // QEMU reconnects, by reconnect-ms.
    await bench.admitted(path);
  });

  it("leads to four ports of a VM at the same time", async () => {
    const paths = [0, 1, 2, 3].map((n) => bench.path(`p${n}`));
    for (const id of [1, 2, 3, 4]) bench.resource(id);
    const vm = `[[vm]]\nname = "a"\nchardev = "client"\nexport = "${bench.path("e")}"`;
    await bench.start(`${vm}\nports = ${JSON.stringify(paths)}`);
    await Promise.all(
      paths.map(async (path, index) => {
        const client = await bench.opened(true, path);
        client.configure(1);
        client.attach(0, index + 1);
        for (let frame = 1; frame <= 20; frame++) {
          client.frame(frame, 0);
          await client.next("packet", frame);
        }
        expect(client.all("error")).toEqual([]);
      }),
    );
    expect(bench.exporter.held).toBe(4);
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
