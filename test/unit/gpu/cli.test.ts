import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { type Program, startProgram } from "../../support/program.ts";
import { until } from "../../support/until.ts";

let folder: string;
let socketPath: string;
let exportPath: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "vsockenc-cli-"));
  socketPath = join(folder, "gpu");
  exportPath = join(folder, "export");
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

const gpu = (...options: readonly string[]): Program => startProgram("gpu", ...options);

async function started(): Promise<Program> {
  const program = gpu("--socket-path", socketPath, "--export-path", exportPath);
  await until(() => existsSync(socketPath) && existsSync(exportPath), "the sockets");
  return program;
}

it("ends with status 0 when QEMU disconnects, and removes its sockets", async () => {
  const { ended } = await started();
  const qemu = connect(socketPath);
  qemu.write(Buffer.from([1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]));
  await until(() => !existsSync(socketPath), "the connection to be taken");
  qemu.destroy();
  expect(await ended).toBe(0);
  expect(existsSync(exportPath)).toBe(false);
});

it.each([
  "SIGTERM",
  "SIGINT",
] as const)("ends with status 0 on %s, and removes its sockets", async (signal) => {
  const { child, ended } = await started();
  child.kill(signal);
  expect(await ended).toBe(0);
  expect(existsSync(socketPath) || existsSync(exportPath)).toBe(false);
});

it("replaces the sockets of a killed process, but not of a running one", async () => {
  const first = await started();
  const second = gpu("--socket-path", socketPath);
  expect(await second.ended).toBe(1);
  expect(second.output).toContain("is in use: another process listens there");
  // Its test of the socket was not mistaken for a connection of QEMU.
  expect(await connects(socketPath)).toBe(true);
  expect(first.child.exitCode).toBeNull();
  first.child.kill("SIGKILL");
  await first.ended;
  const third = await started();
  await until(() => connects(exportPath), "the new process to listen");
  third.child.kill("SIGTERM");
  expect(await third.ended).toBe(0);
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

it("reports the remedy for a wrong path or number", async () => {
  writeFileSync(join(folder, "file"), "");
  const runs = [
    gpu("--socket-path", join(folder, "x".repeat(120))),
    gpu("--socket-path", join(folder, "absent", "gpu")),
    gpu("--socket-path", join(folder, "file")),
    gpu("--socket-path", socketPath, "--mode", "5000x5000"),
    gpu("--socket-path", socketPath, "--heads", "17"),
    gpu(),
  ];
  const statuses = await Promise.all(runs.map(({ ended }) => ended));
  expect(statuses).toEqual([1, 1, 1, 2, 2, 2]);
  [
    "choose a shorter one",
    "create it first",
    "is not a socket",
    "from 64 to 4095",
    "from 1 to 16",
    "--socket-path PATH",
  ].forEach((text, i) => {
    expect(runs[i]?.output).toContain(text);
  });
});

it("prints its capabilities for libvirt", async () => {
  const program = gpu("--print-capabilities");
  expect(await program.ended).toBe(0);
  expect(JSON.parse(program.output)).toEqual({ type: "gpu", features: [] });
});
