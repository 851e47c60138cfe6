import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ConfigurationError, parseConfiguration, readConfiguration } from "../../../host/config.ts";
import { DEFAULT_ENCODERS } from "../../../host/encoders/index.ts";
import { temporaryFolder } from "../../support/folder.ts";

const temporary = temporaryFolder();

const VM = `
[[vm]]
name = "desk"
ports = ["/run/a.sock"]
`;

/** The message with which a configuration is refused. */
function refusal(text: string, ...added: readonly (readonly [string, string])[]): string {
  const sources = added.map(([name, text]) => ({ name, text }));
  try {
    parseConfiguration(text, "host.toml", sources);
  } catch (error) {
    if (error instanceof ConfigurationError) return error.message;
    throw error;
  }
  throw new Error("the configuration was accepted");
}

describe("files beside the configuration", () => {
  const OTHER = "[[vm]]\nname = 'other'\nports = ['/run/b.sock']\n";

  it("add VMs and listeners, in the order of their names", () => {
    const folder = mkdtempSync(join(temporary, "etc-"));
    const file = join(folder, "host.toml");
    writeFileSync(file, "");
    expect(readConfiguration(file).vm).toEqual([]);
    mkdirSync(join(folder, "host.d"));
    expect(readConfiguration(file).vm).toEqual([]);
    const listen = "[[listen]]\naddress = 'unix:/run/l'\nvm = 'other'\n";
    const files = { "b.toml": OTHER, "a.toml": `${VM}${listen}`, ".c.toml": "x", "d.toml~": "x" };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, "host.d", name), text);
    const { vm, listen: listeners } = readConfiguration(file);
    expect(vm.map(({ name }) => name)).toEqual(["desk", "other"]);
    expect(listeners.map((one) => one.vm)).toEqual(["other"]);
  });

  it.each([
    [["a.toml", "vm = 3"], "invalid configuration a.toml:\n  vm: only [[vm]] and [[listen]] may be here"],
    [["a.toml", "log.level = 'debug'"], "a.toml:\n  log: only [[vm]]"],
    [["a.toml", `${OTHER}speed = 1`], "\n  a.toml: vm[0]: Unrecognized key"],
    [["a.toml", `${OTHER}users = [-1]`], "\n  a.toml: vm[0].users[0]: "],
    [["a.toml", OTHER.replace("other", "desk")], "\n  a.toml: vm[0].name: the name desk is used twice"],
    [
      ["a.toml", OTHER.replace("/run/b.sock", "/run/a.sock")],
      "\n  a.toml: vm[0].ports[0]: the socket /run/a.sock",
    ],
    [["a.toml", "[[vm]"], "a.toml: Invalid TOML document"],
  ] as const)("are refused with their names: %s", (added, message) => {
    expect(refusal(VM, ["0.toml", ""], added)).toContain(message);
  });

  it("have their own places in messages", () => {
    const second = "[[vm]]\nname = 'c'\nports = ['/run/c.sock']\nchardev = 'both'\n";
    expect(refusal(VM, ["a.toml", OTHER], ["b.toml", `${second}${second}`])).toContain(
      "\n  b.toml: vm[1].chardev: ",
    );
  });
});

describe("configuration", () => {
  it("fills in defaults", () => {
    const view = { heads: false, rate: 30, min_kbps: 500, max_kbps: 8000 };
    expect(parseConfiguration(VM, "host.toml")).toEqual({
      log: { level: "info" },
      isolation: "vm",
      control: { enabled: true },
      limits: { worker_mib: 2048, gpu_mib: 512 },
      pictures: { max_runs: 16384 },
      encoder: { order: [...DEFAULT_ENCODERS], device: {} },
      status: { enabled: true, port: 9478 },
      viewer: { enabled: false, host: "127.0.0.1", port: 8844, remote: false, names: [], max_viewers: 32 },
      vm: [{ name: "desk", ports: ["/run/a.sock"], chardev: "server", users: [], view }],
      listen: [],
    });
  });

  it.each([
    ["[[vm]]\nname = 'x y'\nports = ['/a']", "vm[0].name"],
    ["[[vm]]\nname = 'x'\nports = []", "vm[0].ports"],
    ["[[vm]]\nname = 'x'\nports = ['/a', '/b', '/c', '/d', '/e']", "vm[0].ports"],
    [`[[vm]]\nname = 'x'\nports = ['/${"a".repeat(200)}']`, "vm[0].ports[0]"],
    [`${VM}exports = '/run/e.sock'`, "exports"],
    [`${VM}gpu = { socket = '/g', heads = 17 }`, "vm[0].gpu.heads"],
    ...["big", "7680x4320", "10x10", "63x600", "4096x600", "1280x800x60", " 1280x800"].map((mode) => [
      `${VM}gpu = { socket = '/g', mode = '${mode}' }`,
      "vm[0].gpu.mode: must be WIDTHxHEIGHT, each from 64 to 4095",
    ]),
    [`${VM}gpu = {}`, "vm[0].gpu.socket: is required by kind"],
    [`${VM}gpu = { kind = 'qemu' }`, "vm[0].gpu.kind"],
    [`${VM}gpu = { socket = '/g', venus = true }`, "vm[0].gpu.venus"],
    [`${VM}gpu = { socket = '/g', users = [-1] }`, "vm[0].gpu.users[0]"],
    [`${VM}gpu = { kind = 'qemu-gl' }`, "vm[0].export: is required by gpu.kind"],
    [`${VM}export = '/e'\ngpu = { kind = 'qemu-gl', socket = '/g' }`, "vm[0].gpu.socket: applies to kind"],
    [`${VM}export = '/e'\nview.heads = true\ngpu = { kind = 'qemu-gl' }`, "vm[0].view.heads"],
    [`${VM}${VM}`, "used twice"],
    [`${VM}export = '/run/a.sock'`, "vm[0].export: the socket /run/a.sock is used twice"],
    [`${VM}export = '/e'\ngpu = { socket = '/e' }`, "vm[0].gpu.socket: the socket /e is used twice"],
    [`${VM}export = '/e'\n[[vm]]\nname = "b"\nports = ['/p']\nexport = '/e'`, "vm[1].export: the socket /e"],
    [`${VM}chardev = 'both'`, "vm[0].chardev"],
    [`${VM}[[listen]]\naddress = '/run/a'`, "listen[0].address"],
    [`${VM}[[listen]]\naddress = 'tcp:127.0.0.1:0'`, "listen[0].address"],
    [`${VM}[[listen]]\naddress = 'tcp:127.0.0.1:65536'`, "listen[0].address"],
    [`${VM}[[listen]]\naddress = 'unix:/${"a".repeat(200)}'`, "listen[0].address"],
    [`${VM}[[listen]]\naddress = 'unix:/run/a.sock'`, "used twice"],
    [`${VM}[[listen]]\naddress = 'tcp:0.0.0.0:5000'`, "listen[0].remote"],
    [`${VM}[[listen]]\naddress = 'tcp:[::]:5000'`, "listen[0].remote"],
    [`${VM}[[listen]]\naddress = 'unix:/b'\nremote = true`, "listen[0].remote"],
    [`${VM}[[listen]]\naddress = 'tcp:127.0.0.1:5000'\nusers = [1]`, "listen[0].users"],
    [`${VM}[[listen]]\naddress = 'tcp:127.0.0.1:5000'\ncid = 3`, "listen[0].cid"],
    [`${VM}[[listen]]\naddress = 'vsock:5000'\nvm = 'desk'`, "listen[0].cid"],
    [`${VM}[[listen]]\naddress = 'unix:/b'\nvm = 'none'`, "listen[0].vm"],
    [`${VM}[status]\nport = 0`, "status.port"],
    [`${VM}view = { heads = true }`, "vm[0].export"],
    [`${VM}view = { rate = 61 }`, "vm[0].view.rate"],
    [`${VM}view = { min_kbps = 900, max_kbps = 800 }`, "vm[0].view.min_kbps"],
    [`${VM}[viewer]\nhost = '0.0.0.0'`, "viewer.host"],
    [`${VM}[viewer]\nkey = '/k.pem'`, "viewer.certificate"],
    [`${VM}[viewer]\ntoken = 'short'`, "viewer.token"],
    [`[log]\nlevel = 'loud'\n${VM}`, "log.level"],
    [`[encoder]\norder = ['h262']\n${VM}`, "encoder.order[0]"],
    ...[
      "/dev/dri/card0",
      "renderD128",
      "/dev/dri/renderD127",
      "/dev/dri/renderD192",
      "/dev/dri/by-path/x-card",
    ].map((path) => [
      `encoder.device.vaapi = '${path}'\n${VM}`,
      "encoder.device.vaapi: must be a render node, /dev/dri/renderD128 to /dev/dri/renderD191",
    ]),
    [`encoder.device.nvenc = 32\n${VM}`, "encoder.device.nvenc"],
    [`encoder.device.nvenc = '0'\n${VM}`, "encoder.device.nvenc"],
    [`encoder.device.cuda = 0\n${VM}`, "encoder.device"],
  ])("refuses %j and names %s", (text, field) => {
    expect(refusal(text)).toContain("host.toml");
    expect(refusal(text)).toContain(field);
  });

  it.each([
    ["vaapi", "/dev/dri/renderD128"],
    ["vaapi", "/dev/dri/renderD191"],
    ["vaapi", "/dev/dri/by-path/pci-0000:03:00.0-render"],
    ["nvenc", 0],
    ["nvenc", 31],
  ])("accepts the encoders' device %s = %j", (kind, value) => {
    const text = `encoder.device.${kind} = ${JSON.stringify(value)}\n${VM}`;
    expect(parseConfiguration(text, "test").encoder.device).toEqual({ [kind]: value });
  });

  it("accepts listeners without a VM, and VMs with a listener only", () => {
    expect(parseConfiguration("[[listen]]\naddress = 'unix:/run/l'", "host.toml").listen).toEqual([
      { address: "unix:/run/l", protocol: "vsockenc", users: [], remote: false, max_clients: 16 },
    ]);
    const bound = "[[vm]]\nname = 'a'\nexport = '/e'\n[[listen]]\naddress = 'vsock:5000'\nvm = 'a'\ncid = 3";
    expect(parseConfiguration(bound, "host.toml").vm[0]?.ports).toEqual([]);
  });

  it("accepts a GPU of QEMU's own, which has no socket and no process", () => {
    const text = `${VM}export = '/e'\ngpu = { kind = 'qemu-gl', venus = true, users = [64055] }`;
    const shape = { heads: 1, mode: "1280x800" };
    expect(parseConfiguration(text, "host.toml").vm[0]?.gpu).toEqual({
      ...{ kind: "qemu-gl", venus: true, users: [64055], ...shape },
    });
    expect(parseConfiguration(`${VM}gpu = { socket = '/g' }`, "host.toml").vm[0]?.gpu).toEqual({
      ...{ kind: "vhost-user", socket: "/g", venus: false, users: [], ...shape },
    });
  });

  it("names the line of a TOML error", () => {
    expect(refusal("[[vm]\nname = 1")).toMatch(/host\.toml.*line|1:|\[\[vm\]/s);
  });

  it("reports a file that cannot be read", () => {
    expect(() => readConfiguration("/nonexistent/host.toml")).toThrow(ConfigurationError);
  });
});
