/**
 * The arguments and the environment of `vsockenc qemu-args --gpu gl` in a real QEMU, under its sandbox: the exporter answers
 * once the guest's firmware has found the GPU, and `vsockenc doctor` agrees.
 */
import { spawnSync } from "node:child_process";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Check } from "../../cli/doctor/check.ts";
import { nativeFolder } from "../../common/load-addon.ts";
import { temporaryFolder } from "../support/folder.ts";
import { MAIN } from "../support/program.ts";
import { until } from "../support/until.ts";
import { QEMU } from "../vm/accelerator.ts";
import { SupervisedProcess } from "../vm/child.ts";

const SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";
const FIRMWARE = "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd";
const EXPORTER = "desk: exporter";

describe("vsockenc qemu-args --gpu gl", () => {
  const folder = temporaryFolder();
  const config = join(folder, "host.toml");
  const socket = join(folder, "e");
  // It chooses a number that is free, and prints it.
  const x = new SupervisedProcess("Xvfb", ["Xvfb", "-displayfd", "1", "-screen", "0", "1280x1024x24"]);
  let display = "";

  beforeAll(async () => {
    const gpu = 'gpu = { kind = "qemu-gl", mode = "1024x768" }';
    const vm = `[[vm]]\nname = "desk"\nports = ["${folder}/p0"]\nexport = "${socket}"\n${gpu}\n`;
    writeFileSync(config, vm);
    x.start();
    display = await until(() => /^\d+$/m.exec(x.log)?.[0], "Xvfb's display");
  });
  afterAll(async () => void (await x.stop()));

  const vsockenc = (...args: string[]): string => {
    const { stdout } = spawnSync(process.execPath, [MAIN, ...args], { encoding: "utf8" });
    return stdout.trim();
  };
  const checks = (): Readonly<Record<string, Check>> => {
    const { checks } = JSON.parse(vsockenc("doctor", "--config", config, "--json")) as { checks: Check[] };
    return Object.fromEntries(checks.map((check) => [check.name, check]));
  };

  it("is the remedy that doctor names while the VM does not run", () => {
    expect(checks()).toMatchObject({
      "QEMU's virtio-gpu-gl": { status: "ok" },
      "libvsockenc-virgl": { status: "ok" },
      [EXPORTER]: { status: "warning", fix: expect.stringContaining("--environment") },
    });
  });

  const args = ["qemu-args", "--config", config, "--memory", "256"];
  const instead = join(nativeFolder(), "replace");
  it.each([
    ["by LD_PRELOAD", () => vsockenc(...args, "--environment").split(" ")],
    ["in the place of libvirglrenderer", () => [`LD_LIBRARY_PATH=${instead}`, `VSOCKENC_EXPORT=${socket}`]],
  ])("starts a QEMU whose exporter, loaded %s, answers doctor", async (_how, environment) => {
    rmSync(socket, { force: true });
    const qemu = new SupervisedProcess("QEMU", [
      ...["env", `DISPLAY=:${display}`, ...environment()],
      ...[QEMU, "-nodefaults", "-no-user-config", "-accel", "tcg", "-machine", "q35"],
      ...["-drive", FIRMWARE, "-sandbox", SANDBOX],
      ...vsockenc(...args, "--display", "sdl").split(" "),
    ]);
    qemu.start();
    try {
      await until(() => !qemu.alive || existsSync(socket), "the exporter's socket");
      expect(qemu.alive, qemu.log).toBe(true);
      expect(qemu.log).not.toMatch(/ERROR|vsockenc-virgl:/);
      expect(checks()).toMatchObject({ "desk: port 0": { status: "ok" }, [EXPORTER]: { status: "ok" } });
    } finally {
      await qemu.stop();
    }
  });
});
