/**
 * Limits by cgroups. A folder plays cgroupfs: what is written and where, and how failures end. Where this machine has cgroup v2
 * with all controllers and this is root, the kernel's as well.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { describe, expect, it, onTestFinished } from "vitest";
import { Cgroups, whyUnlimited } from "../../../host/cgroup.ts";
import { FLOODED_WEIGHT } from "../../../host/workers/weight.ts";
import { temporaryFolder } from "../../support/folder.ts";
import { MAIN, startProgramWith } from "../../support/program.ts";
import { until } from "../../support/until.ts";

const temporary = temporaryFolder();
const CONTROLLERS = "cpuset cpu io memory pids\n";

/** A root whose folders play a system with this process alone in a cgroup. */
function system(changes: Readonly<Record<string, string>> = {}) {
  const root = mkdtempSync(join(temporary, "root-"));
  const unit = join(root, "sys/fs/cgroup/unit");
  for (const folder of [unit, join(root, "proc/self")]) mkdirSync(folder, { recursive: true });
  const files = {
    "proc/self/cgroup": "9:name=systemd:/\n0::/unit\n",
    "sys/fs/cgroup/cgroup.controllers": CONTROLLERS,
    "sys/fs/cgroup/unit/cgroup.controllers": CONTROLLERS,
    "sys/fs/cgroup/unit/cgroup.procs": `${process.pid}\n`,
  };
  for (const [name, text] of Object.entries({ ...files, ...changes })) writeFileSync(join(root, name), text);
  const lines: string[] = [];
  const log = pino({}, { write: (line) => lines.push(line) });
  return { root, unit, lines, open: () => Cgroups.open("workers", log, root) };
}

const read = (...path: string[]): string => readFileSync(join(...path), "utf8");

/** The files of a cgroup with limits. */
const limits = (folder: string) =>
  Object.fromEntries(
    ["memory.max", "memory.swap.max", "pids.max", "cpu.weight"].map((file) => [
      file,
      read(folder, file).trim(),
    ]),
  );

describe("cgroups", () => {
  it("have this process in a child of its own, and each limited process in another", async () => {
    const { unit, open } = system();
    const cgroups = open();
    expect(read(unit, "main", "cgroup.procs")).toBe(String(process.pid));
    expect(read(unit, "cgroup.subtree_control")).toBe("+memory +cpu +pids");
    const child = spawn("sleep", ["60"]);
    cgroups?.limit(child, "worker", { memoryMiB: 3, tasks: 7 });
    const folder = join(unit, `worker-${child.pid}`);
    expect(limits(folder)).toEqual({
      ...{ "memory.max": "3145728", "memory.swap.max": "0", "pids.max": "7", "cpu.weight": "100" },
    });
    expect(read(folder, "cgroup.procs")).toBe(String(child.pid));
    cgroups?.weigh(child, "worker", FLOODED_WEIGHT);
    expect(read(folder, "cpu.weight")).toBe("4");
    // A folder of cgroupfs can be removed with its files.
    for (const file of readdirSync(folder)) rmSync(join(folder, file));
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(existsSync(folder)).toBe(false);
  });

  it("are left alone, and the log says why, where they cannot be had", () => {
    const cases: [Record<string, string>, string][] = [
      [{ "sys/fs/cgroup/cgroup.controllers": "hugetlb\n" }, "cgroup v2 has no memory, cpu, pids here"],
      [{ "sys/fs/cgroup/unit/cgroup.controllers": "memory pids\n" }, "cgroup v2 has no cpu here"],
      [{ "proc/self/cgroup": "4:memory:/unit\n" }, "this process has no cgroup v2"],
      [
        { "sys/fs/cgroup/unit/cgroup.procs": `1\n${process.pid}\n` },
        "other processes share the cgroup /unit",
      ],
      // Nothing can be created.
      [{ "sys/fs/cgroup/unit/main": "" }, "the cgroup /unit is not delegated"],
    ];
    for (const [changes, reason] of cases) {
      const { unit, lines, open } = system(changes);
      const before = readdirSync(unit);
      expect(open()).toBeUndefined();
      expect(lines.map((line) => JSON.parse(line))).toMatchObject([
        {
          msg: "workers run without limits of memory and processors",
          reason: expect.stringContaining(reason),
        },
      ]);
      expect(readdirSync(unit)).toEqual(before);
    }
    expect(whyUnlimited(temporary)).toContain("not mounted");
  });

  it("get this process back where its children may have no limits", () => {
    const { unit, open } = system();
    writeFileSync(join(unit, "cgroup.procs"), "");
    mkdirSync(join(unit, "cgroup.subtree_control"));
    expect(open()).toBeUndefined();
    expect(read(unit, "cgroup.procs")).toBe(String(process.pid));
  });

  it("of processes that have ended are removed at the next start", () => {
    const { unit, open } = system();
    mkdirSync(join(unit, "worker-1"));
    open();
    expect(existsSync(join(unit, "worker-1"))).toBe(false);
  });
});

const configuration = (folder: string): string => {
  const file = join(folder, "host.toml");
  const vm = `[[vm]]\nname = "a"\nports = ["${folder}/p"]\nexport = "${folder}/e"\ngpu = { socket = "${folder}/g" }`;
  writeFileSync(
    file,
    `encoder.order = ["null"]\nstatus.enabled = false\nlimits = { worker_mib = 600, gpu_mib = 300 }\n${vm}\n`,
  );
  return file;
};

const WORKER_LIMITS = {
  ...{ "memory.max": "629145600", "memory.swap.max": "0", "pids.max": "4096", "cpu.weight": "100" },
};
const GPU_LIMITS = {
  ...{ "memory.max": "314572800", "memory.swap.max": "0", "pids.max": "64", "cpu.weight": "100" },
};

/** The cgroup whose name begins so, once it has a process. */
async function limited(unit: string, name: string): Promise<string> {
  const found = () =>
    readdirSync(unit)
      .filter((each) => each.startsWith(name))
      .map((each) => join(unit, each))
      .find((each) => existsSync(join(each, "cgroup.procs")) && read(each, "cgroup.procs") !== "");
  await until(() => found() !== undefined, `the cgroup of ${name}`);
  return found() ?? "";
}

describe("vsockenc host", () => {
  it("limits GPU processes, and its relay workers, as the configuration says", async () => {
    const folder = mkdtempSync(join(temporary, "host-"));
    const program = startProgramWith({ VSOCKENC_CGROUP: folder }, "host", "--config", configuration(folder));
    const [gpu, worker] = [await limited(folder, "gpu-a-"), await limited(folder, "worker-")];
    expect([limits(gpu), limits(worker)]).toEqual([GPU_LIMITS, WORKER_LIMITS]);
    for (const [each, script] of [
      [gpu, "gpu"],
      [worker, "worker-main.js"],
    ] as const) {
      expect(read(`/proc/${read(each, "cgroup.procs")}/cmdline`)).toContain(script);
    }
    program.child.kill("SIGTERM");
    expect(await program.ended, program.output).toBe(0);
    expect(program.output).not.toContain("without limits");
  });

  const isReal = process.getuid?.() === 0 && whyUnlimited() === undefined;
  it.skipIf(!isReal)("does so by the kernel's cgroups, and leaves none behind", async () => {
    const unit = `/sys/fs/cgroup/vsockenc-test-${process.pid}`;
    mkdirSync(unit);
    const folder = mkdtempSync(join(temporary, "real-"));
    const script = 'echo $$ > "$0/cgroup.procs" && exec "$@"';
    const command = [process.execPath, MAIN, "host", "--config", configuration(folder)];
    const host = spawn("sh", ["-c", script, unit, ...command], { stdio: "inherit" });
    const ended = once(host, "close");
    onTestFinished(async () => {
      host.kill("SIGKILL");
      await ended;
      await until(() => {
        for (const each of ["main", "."]) {
          try {
            rmdirSync(join(unit, each));
          } catch {
            // Its processes are still ending, or it is gone.
          }
        }
        return !existsSync(unit);
      }, "the end of the test's cgroup");
    });
    const [gpu, worker] = [await limited(unit, "gpu-a-"), await limited(unit, "worker-")];
    expect([limits(gpu), limits(worker)]).toEqual([GPU_LIMITS, WORKER_LIMITS]);
    expect(read(unit, "main", "cgroup.procs").trim().split("\n")).toContain(String(host.pid));
    process.kill(Number(gpu.split("-").at(-1)), "SIGKILL");
    await until(() => !existsSync(gpu), "the end of its cgroup");
    expect(limits(await limited(unit, "gpu-a-"))).toEqual(GPU_LIMITS);
    host.kill("SIGTERM");
    expect(await ended).toEqual([0, null]);
  });
});
