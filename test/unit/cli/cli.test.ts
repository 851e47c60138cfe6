import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";
import { MAIN, type Program, startProgram } from "../../support/program.ts";
import { until } from "../../support/until.ts";

function vsockenc(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], { encoding: "utf8" });
  return { status, stdout, stderr };
}

describe("vsockenc", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "vsockenc-cli-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const configure = (text: string): string => {
    const file = join(folder, "host.toml");
    writeFileSync(file, text);
    return file;
  };
  const oneVm = (gpu = ""): string =>
    configure(`[[vm]]\nname = "a"\nports = ["${folder}/p0"]\nexport = "${folder}/e"\n${gpu}\n`);

  it("has help for itself and for every command", () => {
    const { status, stdout } = vsockenc("--help");
    expect(status).toBe(0);
    for (const command of ["host", "gpu", "relay", "doctor", "qemu-args", "libvirt-xml"]) {
      expect(stdout).toContain(command);
      expect(vsockenc(command, "--help")).toMatchObject({ status: 0 });
    }
  });

  it("rejects an unknown command, an unknown option and a missing file with a message", () => {
    expect(vsockenc("encode")).toMatchObject({ status: 2 });
    expect(vsockenc("relay", "--config", "x", "--loud").stderr).toContain("--loud");
    const { status, stderr } = vsockenc("relay", "--config", join(folder, "none.toml"));
    expect(status).toBe(2);
    expect(stderr).toContain("none.toml");
    expect(stderr).not.toContain("    at ");
  });

  it("prints QEMU arguments for a VM of the configuration", () => {
    const config = oneVm(`gpu = { socket = "${folder}/g", heads = 3 }`);
    const { stdout } = vsockenc("qemu-args", "--config", config, "--memory", "512");
    expect(stdout).toContain("max_outputs=3");
    expect(stdout).toContain("size=512M,share=on");
    expect(vsockenc("qemu-args", "--config", config, "--vm", "b").stderr).toContain("one of: a");
    expect(vsockenc("qemu-args", "--config", config, "--memory", "lots").stderr).toContain("MiB");
  });

  it("reports problems as text and as JSON, with an exit status for scripts", () => {
    const config = oneVm(`gpu = { socket = "${folder}/none/g" }`);
    const { status, stdout } = vsockenc("doctor", "--config", config, "--json");
    expect(status).toBe(1);
    const { ok, checks } = JSON.parse(stdout) as { ok: boolean; checks: { name: string; status: string }[] };
    expect(ok).toBe(false);
    expect(checks).toContainEqual(expect.objectContaining({ name: "a: GPU socket", status: "failure" }));
    expect(vsockenc("doctor", "--config", config).stdout).toContain("→");
    expect(vsockenc("doctor", "--side", "guest").status).toBe(1);
  });

  it("reports missing addons instead of failing to start", () => {
    const copy = join(folder, "package");
    cpSync(join(packageRoot, "dist"), join(copy, "dist"), { recursive: true });
    cpSync(join(packageRoot, "package.json"), join(copy, "package.json"));
    symlinkSync(join(packageRoot, "node_modules"), join(copy, "node_modules"));
    const main = join(copy, "dist", "cli", "main.js");
    const { status, stdout } = spawnSync(process.execPath, [main, "doctor", "--side", "host"], {
      encoding: "utf8",
    });
    expect(status).toBe(1);
    expect(stdout).toMatch(/FAIL {2}native addon os.*\n.*npm run build/);
    expect(spawnSync(process.execPath, [main, "qemu-args", "--config", oneVm()]).status).toBe(0);
  });

  it("prints a libvirt domain for a VM of the configuration", () => {
    const { status, stdout } = vsockenc("libvirt-xml", "--config", oneVm(), "--memory", "512");
    expect(status).toBe(0);
    expect(stdout).toContain("<memory unit='MiB'>512</memory>");
  });

  describe("host", () => {
    const started = (host: Program, name: string): number[] =>
      [...host.output.matchAll(new RegExp(`"process":"${name}","pid":(\\d+)`, "g"))].map(([, pid]) =>
        Number(pid),
      );

    const start = async (): Promise<Program> => {
      const host = startProgram("host", "--config", oneVm(`gpu = { socket = "${folder}/g" }`));
      await until(() => host.output.includes("connected to the exporter"), "both processes");
      return host;
    };

    it("restarts the relay and the GPU process when they are killed, and stops them when it ends", async () => {
      const host = await start();
      for (const name of ["relay", "gpu a"]) {
        const [pid] = started(host, name);
        if (pid === undefined) throw new Error(`${name} was not started`);
        process.kill(pid, "SIGKILL");
        await until(() => started(host, name).length === 2, `the second ${name}`);
      }
      host.child.kill("SIGTERM");
      expect(await host.ended).toBe(0);
      for (const pid of [...started(host, "relay"), ...started(host, "gpu a")]) {
        expect(() => process.kill(pid, 0)).toThrow();
      }
    });

    it("does not restart a process that ends for a usage error, and shows its message once", async () => {
      const host = await start();
      writeFileSync(
        join(folder, "host.toml"),
        "[[vm]]\nname = 'a'\ngpu = { socket = '/g', mode = '10x10' }\n",
      );
      const [pid] = started(host, "relay");
      process.kill(pid ?? 0, "SIGKILL");
      await until(() => host.output.includes("not restarted"), "the end of its restarts");
      expect(host.output.match(/vm\[0\]\.gpu\.mode: must be WIDTHxHEIGHT/g)).toHaveLength(1);
      expect(started(host, "relay")).toHaveLength(2);
      expect(started(host, "gpu a")).toHaveLength(1);
      host.child.kill("SIGTERM");
      expect(await host.ended).toBe(0);
    });
  });
});
