import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
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

  describe("for a guest that renders", () => {
    const GL = ["--gpu", "gl", "--library", "/usr/lib/vsockenc/libvsockenc-virgl.so"];
    const printed = (config: string, ...args: string[]) => vsockenc("qemu-args", "--config", config, ...args);

    it("prints QEMU's own device on stdout, and on stderr how to load the exporter", () => {
      const { status, stdout, stderr } = printed(oneVm(), ...GL, "--display", "sdl");
      expect(status).toBe(0);
      expect(stdout).toMatch(
        /-device virtio-gpu-gl-pci,max_outputs=1,xres=1280,yres=800 -display sdl,gl=on /,
      );
      expect(stdout.trim().split("\n")).toHaveLength(1);
      expect(stderr).toContain(`env LD_PRELOAD=${GL[3]} VSOCKENC_EXPORT=${folder}/e\n`);
      expect(stderr).toContain("Xvfb");
      expect(printed(oneVm(), ...GL, "--display", "egl-headless").stderr).not.toContain("Xvfb");
    });

    it("prints the environment alone, for env(1), with the users that the configuration admits", () => {
      const config = oneVm(`gpu = { kind = "qemu-gl", users = [64055] }`);
      const environment = `LD_PRELOAD=${GL[3]} VSOCKENC_EXPORT=${folder}/e VSOCKENC_EXPORT_USERS=64055\n`;
      expect(printed(config, ...GL, "--environment")).toEqual({ status: 0, stdout: environment, stderr: "" });
    });

    it("takes the GPU from the configuration, unless the command line names another", () => {
      const library = GL.slice(2);
      const ours = oneVm(`gpu = { socket = "${folder}/g" }`);
      expect(printed(ours).stdout).toContain("vhost-user-gpu-pci");
      expect(printed(ours, ...GL).stdout).toContain("virtio-gpu-gl-pci");
      const qemus = oneVm(`gpu = { kind = "qemu-gl" }`);
      expect(printed(qemus, ...library).stdout).toContain("virtio-gpu-gl-pci");
      expect(printed(qemus, "--gpu", "vhost-user")).toMatchObject({
        status: 2,
        stderr: expect.stringContaining("gpu.socket"),
      });
      expect(printed(qemus, "--gpu", "virgl").stderr).toContain('"vhost-user" or "gl"');
    });

    it("says how to build the library, and which paths the dynamic linker cannot take", () => {
      const empty = spawnSync(process.execPath, [MAIN, "qemu-args", "--config", oneVm(), "--gpu", "gl"], {
        encoding: "utf8",
        env: { ...process.env, VSOCKENC_ADDONS: folder },
      });
      expect(empty.status).toBe(1);
      expect(empty.stderr).toMatch(/libvsockenc-virgl\.so is missing: .*npm run build/);
      const spaced = printed(oneVm(), "--gpu", "gl", "--library", "/opt/my build/libvsockenc-virgl.so");
      expect(spaced).toMatchObject({ status: 1, stderr: expect.stringContaining("spaces and colons") });
    });

    it("needs a socket for the relay", () => {
      const config = configure(`[[vm]]\nname = "a"\nports = ["${folder}/p0"]\n`);
      expect(printed(config, ...GL)).toMatchObject({ status: 2, stderr: expect.stringContaining("export") });
    });

    it("prints a libvirt domain with 3D, and refuses what libvirt cannot express", () => {
      const { stdout } = vsockenc("libvirt-xml", "--config", oneVm(), ...GL);
      expect(stdout).toContain("<acceleration accel3d='yes'/>");
      const venus = oneVm(`gpu = { kind = "qemu-gl", venus = true }`);
      expect(vsockenc("libvirt-xml", "--config", venus, ...GL)).toMatchObject({
        status: 2,
        stderr: expect.stringContaining("gpu.venus"),
      });
      expect(printed(venus, ...GL).stdout).toContain("venus=on");
    });
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
      const both = (): boolean => host.output.includes('"msg":"encoders"') && existsSync(join(folder, "e"));
      await until(both, "both processes");
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
        await until(() => !existsSync(`/proc/${pid}`), "the end of all");
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

    it("starts no process for a GPU that is QEMU's own, and admits the users of one that is ours", async () => {
      const qemus = `[[vm]]\nname = "b"\nports = ["${folder}/p1"]\nexport = "${folder}/e1"\ngpu = { kind = "qemu-gl" }\n`;
      const config = oneVm(`gpu = { socket = "${folder}/g", users = [12345] }\n${qemus}`);
      const host = startProgram("host", "--config", config);
      // The last that is started.
      await until(() => started(host, "relay").length === 1, "the relay");
      expect(host.output).not.toContain("gpu b");
      const [pid] = started(host, "gpu a");
      expect(readFileSync(`/proc/${pid}/cmdline`, "utf8")).toContain("--export-uid\0" + "12345");
      host.child.kill("SIGTERM");
      expect(await host.ended).toBe(0);
    });
  });
});
