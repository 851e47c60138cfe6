/** Our own processes beside QEMU: `vsockenc gpu` and `vsockenc relay`, as a test guest needs them. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { SupervisedProcess } from "./child.ts";
import { RequirementError } from "./errors.ts";
import { poll } from "./wait.ts";

const SOCKETS_TIMEOUT_MS = 15_000;

/** The built command line of the project. */
function cli(checkout: string): string {
  const main = join(checkout, "dist/cli/main.js");
  if (!existsSync(main)) {
    throw new RequirementError(`${main} is not built. Run: npm run build (or use --gpu stock --no-relay).`);
  }
  return main;
}

export interface GpuOptions {
  socketPath: string;
  exportPath: string;
  heads: number;
  /** WIDTHxHEIGHT */
  mode: string | undefined;
  /** A file for the vhost session. */
  record: string | undefined;
}

/** Starts the GPU process and waits until both its sockets are there. */
export async function startGpu(
  checkout: string,
  options: GpuOptions,
  onOutput: (text: string) => void,
): Promise<SupervisedProcess> {
  const gpu = new SupervisedProcess("vsockenc gpu", [
    process.execPath,
    cli(checkout),
    "gpu",
    ...["--socket-path", options.socketPath, "--export-path", options.exportPath],
    ...["--heads", String(options.heads)],
    ...(options.mode === undefined ? [] : ["--mode", options.mode]),
    ...(options.record === undefined ? [] : ["--record", options.record]),
  ]);
  gpu.onOutput = onOutput;
  gpu.start();
  const ended = gpu.ended();
  const sockets = poll(
    () => (existsSync(options.socketPath) && existsSync(options.exportPath) ? true : undefined),
    SOCKETS_TIMEOUT_MS,
    "The sockets of vsockenc gpu",
  );
  sockets.catch(() => {}); // when the race below is over, nobody looks at it
  const ending = await Promise.race([sockets.then(() => undefined), ended]);
  if (ending !== undefined) {
    throw gpu.endedError(ending);
  }
  return gpu;
}

/** The relay's configuration: what the caller wants, and the section for this machine. */
export function relayConfiguration(
  callersFile: string | undefined,
  portSocket: string,
  exportSocket: string | undefined,
): string {
  const own = ["[[vm]]", 'name = "vm"', `ports = [${JSON.stringify(portSocket)}]`];
  if (exportSocket !== undefined) {
    own.push(`export = ${JSON.stringify(exportSocket)}`);
  }
  const callers = callersFile === undefined ? "" : `${readFileSync(callersFile, "utf8").trimEnd()}\n\n`;
  return `${callers}${own.join("\n")}\n`;
}

/** Starts the relay. It connects to QEMU when it likes: nothing here waits for it. */
export function startRelay(
  checkout: string,
  config: string,
  onOutput: (text: string) => void,
): SupervisedProcess {
  const relay = new SupervisedProcess("vsockenc relay", [
    process.execPath,
    cli(checkout),
    "relay",
    "--config",
    config,
  ]);
  relay.onOutput = onOutput;
  relay.start();
  return relay;
}
