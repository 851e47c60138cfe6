/** The element and the programs of test/guest, compiled, and how they are run. */
import { spawn, spawnSync } from "node:child_process";
import { join } from "node:path";
import { packageRoot } from "../../../common/package-root.ts";
import { TEST_HANG_MS } from "../../support/hang.ts";
import { buildAlone } from "../../support/native-program.ts";

/** A folder of cmake's; another one, e.g. with other compiler options, can be named. */
const BUILD = process.env["VSOCKENC_ELEMENT_BUILD"] ?? join(packageRoot, "build", "element");
const PLUGINS = join(BUILD, "guest", "element");

/** GStreamer finds the plugin; its list of plugins is the build's own, so that it never knows another one's. */
export const GST_ENVIRONMENT: Readonly<Record<string, string>> = {
  GST_PLUGIN_PATH: PLUGINS,
  GST_REGISTRY: join(BUILD, "registry.bin"),
};

/**
 * Compiles the plugin and programs of test/guest ("all": every one).
 */
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

/** Runs a command with the element; it is ended after four minutes. */
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

/** Arguments by which a GLib test program leaves tests out, and all below them. */
export const skip = (names: readonly string[]): string[] => names.flatMap((name) => ["-x", name]);

/** Programs that ctest runs: each has its own host, and needs no relay. */
export function ctestPrograms(): string[] {
  const { stdout } = spawnSync("ctest", ["--test-dir", BUILD, "--show-only"], { encoding: "utf8" });
  return [...stdout.matchAll(/Test +#\d+: (\S+)$/gm)].map(([, name = ""]) => name);
}

export interface BusMessage {
  readonly source: string;
  readonly text: string;
}

/** What run-pipeline prints. */
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

/** Reads what run-pipeline printed. @throws Error with what went wrong if it printed nothing */
export function pipelineReport({ status, stdout, stderr }: Finished): PipelineReport {
  if (stdout === "") throw new Error(`run-pipeline ended with ${status}: ${stderr}`);
  return JSON.parse(stdout) as PipelineReport;
}

/** Runs a pipeline to its end. */
export async function runPipeline(pipeline: string, ...options: readonly string[]): Promise<PipelineReport> {
  return pipelineReport(await run(programPath("run-pipeline"), [...options, pipeline]));
}
