/** The element and the programs of test/guest, compiled, and how they are run. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { expect } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";
import type { Size } from "../../support/counter.ts";
import { inspectStream, psnr } from "../../support/ffmpeg.ts";
import { TEST_HANG_MS } from "../../support/hang.ts";
import { buildAlone } from "../../support/native-program.ts";

/** The build folder; another one, e.g. with other compiler options, can be set. */
const BUILD = process.env["VSOCKENC_ELEMENT_BUILD"] ?? join(packageRoot, "build", "element");
const PLUGINS = join(BUILD, "guest", "element");

export type Environment = Readonly<Record<string, string>>;

/** Has GStreamer use this build's plugin; the registry is the build's own, so it contains no other one. */
export const GST_ENVIRONMENT: Environment = {
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

/** Runs a command that can use the element; one that hangs is killed. */
export async function run(
  command: string,
  args: readonly string[],
  environment: Environment = {},
): Promise<{ status: number | null; stdout: string; stderr: string }> {
  const child = spawn(command, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...GST_ENVIRONMENT, ...environment },
    timeout: TEST_HANG_MS,
    killSignal: "SIGKILL",
  });
  const ended = once(child, "close") as Promise<[number | null]>;
  const [stdout, stderr, [status]] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
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
export async function passRelayTest(name: string, environment: Environment): Promise<void> {
  const { stdout, stderr } = await run(programPath("element-relay-test"), ["--tap", "-p", name], environment);
  // A failed assertion ends the program before it prints "ok".
  expect(`${stdout}\n${stderr}`).toMatch(new RegExp(`^ok \\d+ ${name}( |$)`, "m"));
}

/** The first frames of the program `pattern`, which is to be built, as BGRx. */
export function drawPattern(frames: number, { width, height }: Size): Readable {
  const drawing = `--frames ${frames} --width ${width} --height ${height} --format BGRx`.split(" ");
  return spawn(programPath("pattern"), drawing, { stdio: ["ignore", "pipe", "inherit"] }).stdout;
}

/** Checks that a stream shows exactly the first frames of the program `pattern`. */
export async function expectPattern(file: string, frames: number, size: Size): Promise<void> {
  expect(inspectStream(file).frames).toBe(frames);
  // dB; a wrong stride, matrix or frame is below 20.
  expect((await psnr(file, drawPattern(frames, size), size, "bgr0")).minimum).toBeGreaterThan(30);
}

/** Programs that ctest runs, which need no relay. */
export function ctestPrograms(): string[] {
  const { stdout } = spawnSync("ctest", ["--test-dir", BUILD, "--show-only"], { encoding: "utf8" });
  return [...stdout.matchAll(/Test +#\d+: (\S+)$/gm)].map(([, name = ""]) => name);
}

type Messages = readonly { readonly source: string; readonly text: string }[];

/** The report of run-pipeline. */
export interface PipelineReport {
  readonly end: "eos" | "error" | "timeout";
  readonly samples: number;
  readonly keyFrames: number;
  readonly caps: string | null;
  readonly errors: Messages;
  readonly warnings: Messages;
  readonly stats: Readonly<Record<string, string | number>> | null;
}

/** Runs a pipeline to its end. @throws Error with the program's messages if it reports nothing */
export async function runPipeline(pipeline: string, ...options: readonly string[]): Promise<PipelineReport> {
  const { status, stdout, stderr } = await run(programPath("run-pipeline"), [...options, pipeline]);
  if (stdout === "") throw new Error(`run-pipeline exited with ${status}: ${stderr}`);
  return JSON.parse(stdout) as PipelineReport;
}

/** The output of gst-inspect-1.0 without the plugin's path, for comparison with its golden file. */
export const withoutPaths = (description: string): string =>
  description.replace(/^( +Filename +).*$/m, "$1PLUGIN");

/** The golden file for a version of GStreamer. @param version the output of `gst-inspect-1.0 --version` */
export function goldenFile(version: string): string {
  const series = /^gst-inspect-1\.0 version (\d+\.\d+)/m.exec(version)?.[1];
  if (series === undefined) throw new Error(`unexpected output of gst-inspect-1.0 --version: ${version}`);
  return join(packageRoot, "test", "vectors", `gst-inspect-${series}.txt`);
}
