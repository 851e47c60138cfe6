/** `vsockenc vm` beside a running `vsockenc host`. */
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { FdSocket } from "../../../host/native/fd-socket.ts";
import { connectUnix, listeningProcess } from "../../../host/native/listener.ts";
import { type ControlAnswer, ControlServer, MAX_CONTROL_REQUESTS } from "../../../host/relay/control.ts";
import { temporaryFolder } from "../../support/folder.ts";
import { type Program, startProgramWith } from "../../support/program.ts";
import { until } from "../../support/until.ts";

const temporary = temporaryFolder();
let count = 0;
let folder = "";
let host: Program;
const path = (name: string): string => join(folder, name);
const CONTROL = (): string => path("run/vsockenc/control.sock");

/** Runs `vsockenc vm`, and settles with its status and its output. */
async function vm(...args: readonly string[]): Promise<[number | NodeJS.Signals, string]> {
  const program = startProgramWith({ XDG_RUNTIME_DIR: path("run"), RUNTIME_DIRECTORY: "" }, "vm", ...args);
  return [await program.ended, program.output];
}

beforeEach(() => {
  folder = join(temporary, String(count++));
  mkdirSync(path("run"), { recursive: true });
});

describe("vsockenc vm", () => {
  beforeEach(async () => {
    writeFileSync(path("host.toml"), 'status.enabled = false\nencoder.order = ["null"]\n');
    const environment = { XDG_RUNTIME_DIR: path("run"), RUNTIME_DIRECTORY: "" };
    host = startProgramWith(environment, "host", "--config", path("host.toml"));
    await until(() => listeningProcess(CONTROL()) !== undefined, "the control socket");
  });
  afterEach(() => void host.child.kill("SIGTERM"));

  it("adds a VM with its GPU process, shows it, and removes it with all that it had", async () => {
    expect(statSync(CONTROL()).mode & 0o777).toBe(0o600);
    expect(await vm("list")).toEqual([0, "no VMs\n"]);
    const [status, output] = await vm("add", "desk", "--heads", "2", "--mode", "800x600");
    expect([status, output]).toEqual([0, expect.stringContaining("--vm desk")]);
    const socket = (what: string): string => path(`run/vsockenc/desk-${what}.sock`);
    await until(() => listeningProcess(socket("gpu")) !== undefined, "the GPU process");
    expect(readFileSync(path("host.d/desk.toml"), "utf8")).toContain('heads = 2, mode = "800x600"');
    const [, list] = await vm("list");
    expect(list).toMatch(/^desk +off +0 of 1$/m);
    const [, shown] = await vm("show", "desk");
    expect(JSON.parse(shown)).toEqual({
      ...{ name: "desk", state: "off" },
      links: [{ name: socket("port0"), connections: 0 }],
    });
    expect((await vm("add", "desk"))[1]).toContain("remove that VM first");
    expect((await vm("remove", "desk"))[0]).toBe(0);
    await until(() => !existsSync(socket("gpu")), "the end of the GPU process");
    expect(readdirSync(path("host.d"))).toEqual([]);
    expect(readdirSync(path("run/vsockenc"))).toEqual(["control.sock"]);
    expect(await vm("list")).toEqual([0, "no VMs\n"]);
  });

  it("adds nothing that the configuration excludes", async () => {
    expect((await vm("add", "a"))[0]).toBe(0);
    const long = path("x".repeat(90));
    const [status, output] = await vm("add", "b", "--folder", long);
    expect([status, output]).toEqual([
      2,
      expect.stringContaining("b.toml: vm[0].ports[0]: exceeds 103 bytes"),
    ]);
    expect(readdirSync(path("host.d"))).toEqual(["a.toml"]);
    expect((await vm("add", "x y"))[1]).toContain("a VM's name has 1 to 63 letters");
    expect((await vm("remove", "../host"))[1]).toContain("a VM's name has 1 to 63 letters");
    expect(existsSync(path("host.toml"))).toBe(true);
    expect((await vm("remove", "b"))[1]).toContain("is not in a file of its own");
    expect((await vm("show", "b"))[1]).toContain("no VM is named b; there are: a");
    expect((await vm("list"))[1]).toMatch(/^a +off/m);
  });

  it("has the configuration read again, or says why not", async () => {
    mkdirSync(path("host.d"));
    writeFileSync(path("host.d/a.toml"), `[[vm]]\nname = "a"\nports = ["${path("p")}"]\n`);
    expect(await vm("reload")).toEqual([0, "opened: vm a; closed: nothing\n"]);
    writeFileSync(path("host.d/b.toml"), "[[vm]]\nname = 3\n");
    const [status, output] = await vm("reload");
    expect([status, output]).toEqual([1, expect.stringContaining("b.toml: vm[0].name")]);
    expect((await vm("list"))[1]).toMatch(/^a +off/m);
  });

  it("keeps a second relay of one configuration from starting, which says why", async () => {
    const environment = { XDG_RUNTIME_DIR: path("run"), RUNTIME_DIRECTORY: "" };
    const second = startProgramWith(environment, "relay", "--config", path("host.toml"));
    expect(await second.ended).toBe(1);
    expect(second.output).toMatch(/another relay, process \d+, serves .*host\.toml: stop it first/);
    // One of another configuration has no control socket, and serves.
    writeFileSync(path("other.toml"), `status.enabled = false\n[[listen]]\naddress = "unix:${path("l")}"\n`);
    const other = startProgramWith(environment, "relay", "--config", path("other.toml"));
    await until(() => other.output.includes("no control socket"), "the warning");
    expect(other.output).toContain('"msg":"listening"');
    other.child.kill("SIGTERM");
    expect(await other.ended).toBe(0);
  });

  it("says where it looked if no relay answers", async () => {
    const [status, output] = await vm("list", "--control", path("nothing"));
    expect([status, output]).toEqual([1, expect.stringContaining(`no relay answers at ${path("nothing")}`)]);
  });
});

describe("the control socket", () => {
  const lines: string[] = [];
  const open = (answer: () => Promise<ControlAnswer>): string => {
    const log = pino({ level: "warn" }, { write: (line) => void lines.push(line) });
    const server = ControlServer.open(path("c"), answer, log);
    onTestFinished(() => server?.close());
    return path("c");
  };

  /** Sends bytes, and settles when the socket is closed. */
  async function refused(socket: string, bytes: Buffer): Promise<void> {
    let closed = false;
    const received = Buffer.alloc(4096);
    const client: FdSocket = new FdSocket(
      connectUnix(socket),
      {
        onReadable: () => {
          if (client.receive(received, 0, received.length).kind === "end") client.close();
        },
        onClose: () => {
          closed = true;
        },
      },
      1 << 20,
    );
    client.send(bytes);
    await until(() => closed, "the end of the client");
  }

  const message = (text: string): Buffer => {
    const head = Buffer.alloc(8);
    head.writeUInt32LE(text.length, 0);
    return Buffer.concat([head, Buffer.from(text)]);
  };

  it.each([
    ["bytes that are not a message", Buffer.alloc(64, 0xff)],
    ["a message that is not JSON", message("{")],
    ["an unknown request", message('{"type":"stop"}')],
    ["a request with more than it has", message('{"type":"list","x":1}')],
  ])("disconnects a client that sends %s", async (_, bytes) => {
    await refused(
      open(async () => ({ type: "failed", text: "" })),
      bytes,
    );
    expect(lines.at(-1)).toContain("disconnected a control client");
  });

  it("disconnects a client that does not wait for answers", async () => {
    const never = new Promise<ControlAnswer>(() => undefined);
    const flood = Buffer.concat(
      Array.from({ length: MAX_CONTROL_REQUESTS + 1 }, () => message('{"type":"list"}')),
    );
    await refused(
      open(() => never),
      flood,
    );
    expect(lines.at(-1)).toContain("17 requests wait");
  });
});
