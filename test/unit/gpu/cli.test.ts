import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";
import { until } from "../../support/until.ts";

let folder: string;
let socketPath: string;
let exportPath: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "vsockenc-cli-"));
  socketPath = join(folder, "gpu");
  exportPath = join(folder, "export");
});

afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  rmSync(folder, { recursive: true });
});

interface Run {
  readonly child: ChildProcess;
  readonly done: Promise<{ status: number | null; output: string }>;
}

function gpu(...options: string[]): Run {
  const child = spawn(
    process.execPath,
    ["--import", "tsx", join(packageRoot, "cli/main.ts"), "gpu", ...options],
    { cwd: packageRoot, stdio: ["ignore", "pipe", "pipe"] },
  );
  children.push(child);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (output += String(data)));
  const done = new Promise<{ status: number | null; output: string }>((resolve) => {
    child.once("close", (status) => resolve({ status, output }));
  });
  return { child, done };
}

async function started(): Promise<Run> {
  const run = gpu("--socket-path", socketPath, "--export-path", exportPath);
  await until(() => existsSync(socketPath) && existsSync(exportPath), "the sockets");
  return run;
}

it("ends with status 0 when QEMU goes, and removes its sockets", async () => {
  const { done } = await started();
  const qemu = connect(socketPath);
  qemu.write(Buffer.from([1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]));
  await until(() => !existsSync(socketPath), "the connection to be taken");
  qemu.destroy();
  expect((await done).status).toBe(0);
  expect(existsSync(exportPath)).toBe(false);
});

it.each([
  "SIGTERM",
  "SIGINT",
] as const)("ends with status 0 on %s, and removes its sockets", async (signal) => {
  const { child, done } = await started();
  child.kill(signal);
  expect((await done).status).toBe(0);
  expect(existsSync(socketPath) || existsSync(exportPath)).toBe(false);
});

it("replaces the sockets of a process that was killed, but not of one that lives", async () => {
  const first = await started();
  const second = await gpu("--socket-path", socketPath).done;
  expect(second.status).toBe(1);
  expect(second.output).toContain("is in use: another process listens there");
  // Its look at the socket was not taken for QEMU's coming and going.
  expect(await connects(socketPath)).toBe(true);
  expect(first.child.exitCode).toBeNull();
  first.child.kill("SIGKILL");
  await first.done;
  const third = await started();
  await until(() => connects(exportPath), "the new process to listen");
  third.child.kill("SIGTERM");
  expect((await third.done).status).toBe(0);
});

function connects(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

it("says what to do about a wrong path or number", async () => {
  writeFileSync(join(folder, "file"), "");
  const runs = [
    gpu("--socket-path", join(folder, "x".repeat(120))),
    gpu("--socket-path", join(folder, "absent", "gpu")),
    gpu("--socket-path", join(folder, "file")),
    gpu("--socket-path", socketPath, "--mode", "5000x5000"),
    gpu("--socket-path", socketPath, "--heads", "17"),
    gpu(),
  ];
  const results = await Promise.all(runs.map(({ done }) => done));
  expect(results.map(({ status }) => status)).toEqual(runs.map(() => 1));
  const outputs = results.map(({ output }) => output);
  [
    "choose a shorter one",
    "create it first",
    "is not a socket",
    "from 64 to 4095",
    "from 1 to 16",
    "--socket-path PATH",
  ].forEach((text, i) => {
    expect(outputs[i]).toContain(text);
  });
});

it("tells libvirt its capabilities", async () => {
  const { status, output } = await gpu("--print-capabilities").done;
  expect([status, JSON.parse(output)]).toEqual([0, { type: "gpu", features: [] }]);
});
