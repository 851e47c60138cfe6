/** `vsockenc host`: what a running VM needs outlives it, and its configuration may change. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { connectUnix, listeningProcess } from "../../../host/native/listener.ts";
import { closeDescriptor } from "../../../host/native/os-addon.ts";
import { temporaryFolder } from "../../support/folder.ts";
import { type Program, startProgram } from "../../support/program.ts";
import { until } from "../../support/until.ts";
import { VhostSocket } from "../gpu/vhost-socket.ts";

const temporary = temporaryFolder();
let count = 0;
let folder = "";
beforeEach(() => {
  folder = join(temporary, String(count++));
  mkdirSync(join(folder, "host.d"), { recursive: true });
  configure("host.toml", `status.enabled = false\nencoder.order = ["null"]\n${vm("a")}${vm("b")}`);
});

const path = (name: string): string => join(folder, name);
const configure = (file: string, text: string): void => writeFileSync(path(file), text);
const vm = (name: string, more = ""): string =>
  `[[vm]]\nname = "${name}"\nchardev = "client"\nports = ["${path(`${name}-port`)}"]\nexport = "${path(`${name}-e`)}"\ngpu = { socket = "${path(`${name}-g`)}" ${more} }\n`;

/** Starts it, and settles when these VMs can be started. */
async function host(...vms: readonly string[]): Promise<Program> {
  const program = startProgram("host", "--config", path("host.toml"));
  await until(() => vms.every(isReady), "the GPU processes");
  await until(() => program.output.includes('"msg":"listening"'), "the relay");
  onTestFinished(() => {
    for (const name of vms) {
      const pid = gpu(name);
      if (pid !== undefined) process.kill(pid, "SIGKILL");
    }
  });
  return program;
}

/** Its status or signal. Its output does not end with it: GPU processes write there, too. */
function exit({ child }: Program): Promise<number | NodeJS.Signals | null> {
  const status = (): number | NodeJS.Signals | null => child.exitCode ?? child.signalCode;
  return new Promise((resolve) => {
    if (status() === null) child.once("exit", () => resolve(status()));
    else resolve(status());
  });
}

/** The process with a VM's GPU. */
const gpu = (name: string): number | undefined => listeningProcess(path(`${name}-e`));

/** Whether QEMU can be started. */
const isReady = (name: string): boolean =>
  gpu(name) !== undefined && listeningProcess(path(`${name}-g`)) !== undefined;

/** QEMU, as far as the GPU process notices it. */
async function qemu(name: string): Promise<VhostSocket> {
  const socket = new VhostSocket(path(`${name}-g`));
  onTestFinished(() => socket.close());
  socket.send(1);
  await until(() => !existsSync(path(`${name}-g`)), "the VM with its GPU");
  return socket;
}

const stopped = (pid: number | undefined): boolean => {
  try {
    return pid === undefined || / Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return true;
  }
};

describe("the GPU of a running VM", () => {
  it.each([
    "SIGTERM",
    "SIGKILL",
  ] as const)("outlives a host that ends by %s; the next one finds it, and starts another after its VM", async (signal) => {
    const first = await host("a", "b");
    const running = await qemu("a");
    const [used, idle] = [gpu("a"), gpu("b")];
    first.child.kill(signal);
    expect(await exit(first)).toBe(signal === "SIGTERM" ? 0 : signal);
    // Nothing waits for VMs any more.
    await until(() => stopped(idle), "the end of the GPU process without a VM");
    expect(gpu("a")).toBe(used);
    const second = await host("b");
    await until(() => second.output.includes(`"pid":${used},"msg":"runs already"`), "the adoption");
    expect(gpu("a")).toBe(used);
    expect(running.ended).toBe(false);
    running.close();
    await until(() => isReady("a"), "a GPU for the VM's next start");
    expect(gpu("a")).not.toBe(used);
    second.child.kill("SIGTERM");
    expect(await exit(second)).toBe(0);
  });

  it("outlives a terminal that is closed, and so does all else", async () => {
    const program = await host("a", "b");
    const running = await qemu("a");
    const before = [gpu("a"), gpu("b")];
    const processes = [program.child.pid, ...before, ...children(program.child.pid)];
    for (const pid of processes) process.kill(pid ?? 0, "SIGHUP");
    await until(() => program.output.includes("configuration read again"), "the relay's answer");
    expect(processes.map(stopped)).not.toContain(true);
    expect([gpu("a"), gpu("b")]).toEqual(before);
    expect(running.ended).toBe(false);
  });
});

describe("a configuration that is read again", () => {
  it("gives new VMs their processes, takes those of old ones, and leaves the others alone", async () => {
    const program = await host("a", "b");
    const running = await qemu("a");
    const [used, idle] = [gpu("a"), gpu("b")];
    configure("host.toml", 'status.enabled = false\nencoder.order = ["null"]\n');
    configure("host.d/a.toml", vm("a"));
    configure("host.d/c.toml", vm("c"));
    program.child.kill("SIGHUP");
    await until(() => isReady("c"), "the GPU of the new VM");
    await until(() => stopped(idle) && !existsSync(path("b-port")), "the end of what the old VM had");
    expect(readdirSync(folder).filter((name) => name.startsWith("b-"))).toEqual([]);
    await until(() => existsSync(path("c-port")), "the port of the new VM");
    closeDescriptor(connectUnix(path("c-port")));
    expect(gpu("a")).toBe(used);
    expect(running.ended).toBe(false);
    process.kill(gpu("c") ?? 0, "SIGKILL");
    program.child.kill("SIGTERM");
  });

  it("and is wrong changes nothing", async () => {
    const program = await host("a", "b");
    const before = [gpu("a"), gpu("b")];
    configure("host.d/c.toml", vm("c", ", heads = 17"));
    program.child.kill("SIGHUP");
    await until(() => program.output.includes("the configuration stays as it was"), "the refusal");
    expect(program.output).toContain("c.toml: vm[0].gpu.heads");
    expect([gpu("a"), gpu("b"), gpu("c")]).toEqual([...before, undefined]);
    program.child.kill("SIGTERM");
    expect(await exit(program)).toBe(0);
  });

  it("replaces the waiting GPU process of a VM whose GPU is another now", async () => {
    const program = await host("a", "b");
    const [a, b] = [gpu("a"), gpu("b")];
    configure(
      "host.toml",
      `status.enabled = false\nencoder.order = ["null"]\n${vm("a", ", heads = 2")}${vm("b")}`,
    );
    program.child.kill("SIGHUP");
    await until(() => isReady("a") && gpu("a") !== a, "the other GPU");
    expect(readFileSync(`/proc/${gpu("a")}/cmdline`, "utf8")).toContain("--heads\0" + "2");
    expect(gpu("b")).toBe(b);
    program.child.kill("SIGTERM");
    expect(await exit(program)).toBe(0);
  });
});

function children(pid: number | undefined): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").map(Number);
}
