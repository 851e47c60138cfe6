/** `vsockenc gpu` and `vsockenc relay`, as built, beside a test guest, and a window system for QEMU. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { nativeFolder } from "../../common/load-addon.ts";
import { packageRoot } from "../../common/package-root.ts";
import { until } from "../support/until.ts";
import { SupervisedProcess } from "./child.ts";
import { RequirementError } from "./errors.ts";

/** The words of a command of ours. */
export function vsockencCommand(...args: readonly string[]): string[] {
  const main = join(packageRoot, "dist/cli/main.js");
  if (existsSync(main)) return [process.execPath, main, ...args];
  throw new RequirementError(`${main} is not built. Run: npm run build (or use --gpu stock --no-relay).`);
}

function startVsockenc(args: readonly string[], onOutput: (text: string) => void): SupervisedProcess {
  const program = new SupervisedProcess(`vsockenc ${args[0]}`, vsockencCommand(...args));
  program.onOutput = onOutput;
  program.start();
  return program;
}

export interface GpuOptions {
  readonly socketPath: string;
  readonly exportPath: string;
  readonly heads?: number | undefined;
  /** WIDTHxHEIGHT */
  readonly mode?: string | undefined;
  /** A file for the vhost session. */
  readonly record?: string | undefined;
}

/** Starts the GPU process and waits for both of its sockets. */
export async function startGpu(
  { socketPath, exportPath, heads = 1, mode, record }: GpuOptions,
  onOutput: (text: string) => void = () => {},
): Promise<SupervisedProcess> {
  const args = ["gpu", "--socket-path", socketPath, "--export-path", exportPath, "--heads", String(heads)];
  if (mode !== undefined) args.push("--mode", mode);
  if (record !== undefined) args.push("--record", record);
  const gpu = startVsockenc(args, onOutput);
  const sockets = (): boolean => existsSync(socketPath) && existsSync(exportPath);
  await until(() => sockets() || !gpu.alive, "the sockets of vsockenc gpu");
  return gpu.alive ? gpu : await gpu.failure();
}

/** A window system without a screen, on a display number that is free. */
export async function startXvfb(): Promise<{
  readonly process: SupervisedProcess;
  readonly display: string;
}> {
  const x = new SupervisedProcess("Xvfb", [
    "Xvfb",
    "-displayfd",
    "1",
    "-nolisten",
    "tcp",
    "-screen",
    "0",
    "1920x1200x24",
  ]);
  x.start();
  const number = (): string | undefined => /^(\d+)$/m.exec(x.log)?.[1];
  await until(() => number() !== undefined || !x.alive, "Xvfb's display number");
  return x.alive ? { process: x, display: `:${number()}` } : await x.failure();
}

/** How the exporter gets into QEMU: by LD_PRELOAD, or in the place of libvirglrenderer. */
export type ExporterLoading = "preload" | "replace";

/** Variables for a QEMU with the exporter, as words for env(1). */
export function exporterEnvironment(loading: ExporterLoading, exportSocket: string): string[] {
  const library = join(nativeFolder(), "libvsockenc-virgl.so");
  if (!existsSync(library)) throw new RequirementError(`${library} is not built. Run: npm run build.`);
  const loader =
    loading === "preload" ? `LD_PRELOAD=${library}` : `LD_LIBRARY_PATH=${join(nativeFolder(), "replace")}`;
  return [loader, `VSOCKENC_EXPORT=${exportSocket}`];
}

/** Where a relay finds a guest. */
export interface GuestSockets {
  readonly portSocket: string;
  readonly exportSocket?: string | undefined;
}

/**
 * A section [[vm]] of a relay's configuration.
 *
 * @param more further lines
 */
export function vmSection(name: string, { portSocket, exportSocket }: GuestSockets, more = ""): string {
  const lines = ["[[vm]]", `name = "${name}"`, `ports = [${JSON.stringify(portSocket)}]`];
  if (exportSocket !== undefined) lines.push(`export = ${JSON.stringify(exportSocket)}`);
  return `${[...lines, more].join("\n").trimEnd()}\n`;
}

/** @param file TOML to put before the guest's section */
export function relayConfiguration(file: string | undefined, sockets: GuestSockets): string {
  const before = file === undefined ? "" : `${readFileSync(file, "utf8").trimEnd()}\n\n`;
  return `${before}${vmSection("vm", sockets)}`;
}

/** Starts a relay, which connects to QEMU on its own. */
export function startRelay(config: string, onOutput: (text: string) => void = () => {}): SupervisedProcess {
  return startVsockenc(["relay", "--config", config], onOutput);
}
