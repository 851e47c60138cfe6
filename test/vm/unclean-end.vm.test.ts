/** Unexpected ends leave no process, socket or folder behind. */
import { spawn } from "node:child_process";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { packageRoot } from "../../common/package-root.ts";
import { temporaryFolder } from "../support/folder.ts";
import { until } from "../support/until.ts";
import { makeStateDir } from "./state-dir.ts";
import { Vm } from "./vm.ts";

const folder = temporaryFolder();

function runs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

it("QEMU's end rejects running commands and ends the GPU process with status 0", async () => {
  const vm = await Vm.boot({ payload: false });
  try {
    const pids = [vm.qemu.pid, vm.gpu?.pid, vm.relay?.pid].map(Number);
    const running = vm.run("sleep 1000");
    running.catch(() => undefined);
    await vm.qmp.execute("quit");
    await expect(running).rejects.toThrow(/QEMU ended with status 0|vsockenc gpu ended with status 0/);
    expect(await vm.gpu?.ended()).toEqual({ status: 0, signal: null });
    expect(existsSync(vm.exportSocket)).toBe(false);
    expect(vm.relay?.alive).toBe(true);
    await vm.shutdown();
    expect(pids.map(runs)).toEqual([false, false, false]);
    expect(existsSync(vm.stateDir)).toBe(false);
  } finally {
    await vm.shutdown();
  }
});

it("killing the test process with SIGKILL ends everything", async () => {
  const script = join(folder, "owner.mts");
  const vmModule = JSON.stringify(join(packageRoot, "test/vm/vm.ts"));
  const report = "[vm.qemu.pid, vm.gpu?.pid, vm.relay?.pid, vm.stateDir].join(' ')";
  writeFileSync(
    script,
    `const { Vm } = await import(${vmModule});\nconst vm = await Vm.boot({ payload: false });\nconsole.log(${report});\n`,
  );
  const owner = spawn(process.execPath, ["--import", "tsx", script], {
    cwd: packageRoot,
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    const line = await new Promise<string>((resolve, reject) => {
      owner.stdout.once("data", (data: Buffer) => resolve(data.toString().trim()));
      owner.once("exit", (status) => reject(new Error(`ended with status ${status} before it had booted`)));
    });
    const [stateDir = "", ...pids] = line.split(" ").reverse();
    expect(pids.map(Number).map(runs)).toEqual([true, true, true]);
    owner.kill("SIGKILL");
    await until(() => !pids.map(Number).some(runs), "the end of its processes");
    expect(existsSync(stateDir)).toBe(true);
    rmSync(makeStateDir(), { recursive: true });
    expect(existsSync(stateDir), "the next machine removes it").toBe(false);
  } finally {
    owner.kill("SIGKILL");
  }
});
