/** The element and the programs of test/guest, compiled, and how they are run. */
import { spawn, spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";
import { psnr } from "../../support/ffmpeg.ts";
import { TEST_HANG_MS } from "../../support/hang.ts";
import { buildAlone } from "../../support/native-program.ts";

/** The build folder; another one, e.g. with other compiler options, can be set. */
const BUILD = process.env["VSOCKENC_ELEMENT_BUILD"] ?? join(packageRoot, "build", "element");
const PLUGINS = join(BUILD, "guest", "element");

/** Has GStreamer use this build's plugin; the registry is the build's own, so it contains no other one. */
export const GST_ENVIRONMENT: Readonly<Record<string, string>> = {
  GST_PLUGIN_PATH: PLUGINS,
  GST_REGISTRY: join(BUILD, "registry.bin"),
};

/** Compiles the plugin and programs of test/guest ("all": every one). */
export function buildElement(...programs: readonly string[]): void {
  const configure = ["-S", packageRoot, "-B", BUILD, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=RelWithDebInfo"];
  for (const args of [configure, ["--build", BUILD, "--target", "gstvsockenc", ...programs]]) {
    buildAlone(BUILD, "cmake", ...args);
  }
}

/** Where cmake put a program of test/guest. */
export const programPath = (name: string): string => join(BUILD, "test", "guest", name);

export interface Finished {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command that can use the element; one that hangs is killed. */
export async function run(
  command: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<Finished> {
  const child = spawn(command, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...GST_ENVIRONMENT, ...environment },
    timeout: TEST_HANG_MS,
    killSignal: "SIGKILL",
  });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (data: Buffer) => {
    stdout += data.toString();
  });
  child.stderr.on("data", (data: Buffer) => {
    stderr += data.toString();
  });
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  return { status, stdout, stderr };
}

/** Names of a GLib test program's tests. */
export function listTests(program: string): string[] {
  const { status, stdout, stderr } = spawnSync(programPath(program), ["-l"], {
    encoding: "utf8",
    env: { ...process.env, ...GST_ENVIRONMENT },
  });
  if (status !== 0) throw new Error(`${program} -l failed: ${stderr}`);
  // A comment of TAP from GLib 2.84 on, bare before.
  return [...stdout.matchAll(/^(?:# )?(\/\S+)$/gm)].map(([, name = ""]) => name);
}

/** Runs one test of element-relay-test, which must pass or be skipped. */
export async function passRelayTest(
  name: string,
  environment: Readonly<Record<string, string>>,
): Promise<void> {
  const { stdout, stderr } = await run(programPath("element-relay-test"), ["--tap", "-p", name], environment);
  // A failed assertion ends the program before it prints "ok".
  expect(`${stdout}\n${stderr}`).toMatch(new RegExp(`^ok \\d+ ${name}( |$)`, "m"));
}

/** dB; a wrong stride, matrix or frame is below 20. */
const LEAST_QUALITY = 30;

/** Checks that a stream shows the frames of the program `pattern`. */
export async function expectPattern(
  file: string,
  frames: number,
  size: { width: number; height: number },
): Promise<void> {
  const { width, height } = size;
  const drawing = `--frames ${frames} --width ${width} --height ${height} --format BGRx`.split(" ");
  const reference = spawn(programPath("pattern"), drawing);
  expect((await psnr(file, reference.stdout, size, "bgr0")).minimum).toBeGreaterThan(LEAST_QUALITY);
}

/** Arguments that make a GLib test program skip tests, and all below them. */
export const skip = (names: readonly string[]): string[] => names.flatMap((name) => ["-x", name]);

/** Programs that ctest runs, which need no relay. */
export function ctestPrograms(): string[] {
  const { stdout } = spawnSync("ctest", ["--test-dir", BUILD, "--show-only"], { encoding: "utf8" });
  return [...stdout.matchAll(/Test +#\d+: (\S+)$/gm)].map(([, name = ""]) => name);
}

export interface BusMessage {
  readonly source: string;
  readonly text: string;
}

/** The report of run-pipeline. */
export interface PipelineReport {
  readonly end: "eos" | "error" | "timeout";
  readonly samples: number;
  readonly keyFrames: number;
  readonly bytes: number;
  readonly caps: string | null;
  readonly errors: readonly BusMessage[];
  readonly warnings: readonly BusMessage[];
  readonly infos: readonly BusMessage[];
  readonly properties: Readonly<Record<string, string | number | boolean | null>>;
  readonly stats: Readonly<Record<string, string | number>> | null;
}

/** Parses the report of run-pipeline. @throws Error with its messages if there is none */
export function pipelineReport({ status, stdout, stderr }: Finished): PipelineReport {
  if (stdout === "") throw new Error(`run-pipeline exited with ${status}: ${stderr}`);
  return JSON.parse(stdout) as PipelineReport;
}

/** Runs a pipeline to its end. */
export async function runPipeline(pipeline: string, ...options: readonly string[]): Promise<PipelineReport> {
  return pipelineReport(await run(programPath("run-pipeline"), [...options, pipeline]));
}
