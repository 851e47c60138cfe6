/**
 * `vsockenc run`: a QEMU command line, with everything that vsockenc adds to it.
 *
 * It is `vsockenc host` with one VM, in a folder of its own, for as long as that VM's QEMU runs.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command, Option } from "commander";
import { ConfigurationError } from "../common/configuration-error.ts";
import { createLogger, LOG_LEVELS, type LogLevel } from "../common/log.ts";
import { minimumQemu } from "../common/package-root.ts";
import { parseConfiguration } from "../host/config.ts";
import { qemuArguments, qemuEnvironment } from "../host/hypervisor.ts";
import { RUN_GPUS, readQemuLine } from "../host/qemu-line.ts";
import { type VmShape, vmTable } from "../host/vm-table.ts";
import { viewerOptions } from "../viewer/server/options.ts";
import { isAtLeast, qemuVersion, run } from "./doctor/check.ts";
import { defaultGlDisplay, defaultMemoryBackend, hypervisorVm } from "./hypervisor.ts";
import { headsOption, modeOption, wholeNumber } from "./options.ts";

interface RunOptions extends VmShape {
  readonly port?: number;
  readonly logLevel: LogLevel;
}

const VIEWER_PORT = viewerOptions.parse({}).port;
const FORWARDED = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
/** How long a GPU process may take to start. */
const GPU_START_MS = 30_000;
const POLL_MS = 20;

/** QEMU cannot be started; the message has the remedy. */
class RunError extends Error {
  override readonly name = "RunError";
}

/** The configuration of `vsockenc host`. */
function configurationText(folder: string, options: RunOptions, port: number, token: string): string {
  return `log.level = "${options.logLevel}"
control.enabled = false
status.enabled = false
viewer = { enabled = true, port = ${port}, token = "${token}" }
${vmTable("vm", options, (what) => join(folder, what))}`;
}

/** @throws ConfigurationError, RunError */
function checkQemu(program: string): void {
  const version = run(program, ["--version"]);
  if (version.kind === "missing")
    throw new RunError(`cannot start ${program}: it is not installed, or not in PATH`);
  const found = version.kind === "ended" ? qemuVersion(version.output) : undefined;
  if (found === undefined) {
    throw new ConfigurationError(
      `expected a QEMU command line after --, such as qemu-system-x86_64 -m 4G …; ${program} is not QEMU`,
    );
  }
  if (!isAtLeast(found, minimumQemu)) {
    throw new RunError(
      `${program} is QEMU ${found}, and vsockenc needs ${minimumQemu} or newer: install it (Debian 12: from backports)`,
    );
  }
}

/** The usual port of the viewer, or another one if that is taken. */
function freePort(wanted: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", () => {
      if (wanted === 0) reject(new RunError("no TCP port is free for the viewer"));
      else resolve(freePort(0));
    });
    server.listen(wanted, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : wanted));
    });
  });
}

/** Settles with QEMU's exit status, or the signal that has ended it. */
function ended(child: ChildProcess, program: string): Promise<number | NodeJS.Signals> {
  return new Promise((resolve, reject) => {
    child.once("error", (error) => reject(new RunError(`cannot start ${program}: ${error.message}`)));
    child.once("exit", (status, signal) => resolve(status ?? signal ?? 1));
  });
}

async function runVm(
  program: string,
  args: readonly string[],
  options: RunOptions,
): Promise<number | NodeJS.Signals> {
  const line = readQemuLine(args, options.gpu);
  checkQemu(program);
  const { listeningProcess } = await import("../host/native/listener.ts");
  const { Supervisor } = await import("../host/supervisor.ts");
  const folder = mkdtempSync(join(process.env["XDG_RUNTIME_DIR"] ?? tmpdir(), "vsockenc-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  const port = options.port ?? (await freePort(VIEWER_PORT));
  const token = randomBytes(16).toString("hex");
  const file = join(folder, "host.toml");
  const text = configurationText(folder, options, port, token);
  writeFileSync(file, text, { mode: 0o600 });
  const configuration = parseConfiguration(text, file);
  const [described] = configuration.vm;
  if (described === undefined) throw new Error("unreachable");
  const vm = hypervisorVm(described, line.memoryMiB);
  const supervisor = new Supervisor(file, createLogger("run", options.logLevel), undefined);
  supervisor.apply(configuration);
  try {
    if (vm.gpu?.kind === "vhost-user") {
      const { socket } = vm.gpu;
      for (const end = performance.now() + GPU_START_MS; listeningProcess(socket) === undefined; ) {
        if (performance.now() > end)
          throw new RunError("the GPU process does not start: see the messages above");
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      }
    }
    const here = { memoryBackend: defaultMemoryBackend, glDisplay: defaultGlDisplay() };
    const added = qemuArguments(vm, here, line);
    const qemu = spawn(program, [...args, ...added], {
      stdio: "inherit",
      env: { ...process.env, ...qemuEnvironment(vm) },
    });
    for (const signal of FORWARDED) process.on(signal, () => qemu.kill(signal));
    const address = `http://127.0.0.1:${port}/?token=${token}`;
    qemu.once("spawn", () => console.error(`vsockenc: watch the VM at ${address}`));
    return await ended(qemu, program);
  } finally {
    supervisor.stop();
  }
}

/** Ends this process as QEMU has ended. */
function endBy(signal: NodeJS.Signals): void {
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
}

/** The subcommand. */
export function runCommand(): Command {
  return new Command("run")
    .description(
      "run a QEMU command line with a GPU, ports and a viewer of vsockenc, and everything behind them",
    )
    .addOption(
      new Option(
        "--gpu <kind>",
        "the VM's GPU: 2d (vsockenc's own), gl (QEMU's virtio-gpu-gl, which renders), or none",
      )
        .choices(RUN_GPUS)
        .default("2d"),
    )
    .addOption(headsOption())
    .addOption(modeOption())
    .option("--port <number>", `the viewer's TCP port (default: ${VIEWER_PORT}, or a free one)`, (text) =>
      wholeNumber(text, 1, 65_535),
    )
    .addOption(new Option("--log-level <level>", "least severe level").choices(LOG_LEVELS).default("error"))
    .argument("<qemu...>", "QEMU's command line, after --")
    .passThroughOptions()
    .addHelpText(
      "after",
      `
Example:
  $ vsockenc run -- qemu-system-x86_64 -machine q35,accel=kvm -m 4G -smp 4 -drive file=desk.qcow2,if=virtio

Memory is shared with the GPU, as much as the line says. The GPU is the VM's only one, so its screen appears when the guest's
driver has started; the guest's programs encode by \`… ! vsockenc ! …\`. Everything ends with QEMU, whose exit status is this
program's. Arguments that exclude the GPU (another GPU, a display) are named, with what to do.`,
    )
    .action(async ([program = "", ...args]: string[], options: RunOptions) => {
      const end = await runVm(program, args, options);
      if (typeof end === "number") process.exitCode = end;
      else process.once("exit", () => endBy(end));
    });
}
