/** Builds the native fuzz targets with clang, runs targets of both kinds, and keeps what they found. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../common/package-root.ts";
import { formatBytes, parseBytes } from "../../host/gpu/session-recording.ts";
import { type NativeTarget, TARGETS } from "./targets.ts";
import { Finding, type FuzzLimits, fuzzTypescript } from "./typescript-fuzzer.ts";

/** A target failed, or could not be built. */
export class FuzzError extends Error {
  override readonly name = "FuzzError";
}

const BUILD = join(packageRoot, "build", "fuzz");
const CORPUS = join(import.meta.dirname, "corpus");

/** An input that takes so long is a finding; the slowest takes milliseconds. */
const HANG_SECONDS = 60;

export interface FuzzOptions extends Omit<FuzzLimits, "progress" | "hang"> {
  /** Writes the inputs that reach more code into the committed corpus, as few as possible. */
  readonly keep?: boolean;
  /** Shows libFuzzer's progress, or our own. */
  readonly show?: boolean;
}

/** What a run did. */
export interface FuzzResult {
  readonly runs: number;
  readonly seconds: number;
  readonly corpus: number;
  /** "ran of all" in edges (native) or bytes of code (TypeScript). */
  readonly coverage: string;
}

/** Runs a program. @param show shows what it writes to standard error, too. @returns all that it wrote */
async function run(command: string, args: readonly string[], show: boolean): Promise<string> {
  const child = spawn(command, args, { cwd: packageRoot, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    output += text;
    if (show) process.stderr.write(text);
  });
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject).on("close", resolve);
  });
  if (status === 0) return output;
  throw new FuzzError(`${command} ${args.join(" ")} failed:\n${output.slice(-8000)}`);
}

export async function buildTargets(show = false): Promise<void> {
  const compilers = ["-DCMAKE_C_COMPILER=clang", "-DCMAKE_CXX_COMPILER=clang++"];
  await run("cmake", ["-S", import.meta.dirname, "-B", BUILD, "-G", "Ninja", ...compilers], show);
  await run("cmake", ["--build", BUILD], show);
}

/** The committed corpus of a target: a text with one input a line, in the notation of session recordings. */
function committed(name: string): Buffer[] {
  const file = join(CORPUS, `${name}.txt`);
  if (!existsSync(file)) return [];
  return readFileSync(file, "utf8").split("\n").filter(Boolean).map(parseBytes);
}

function commit(name: string, inputs: readonly Buffer[]): void {
  mkdirSync(CORPUS, { recursive: true });
  const lines = inputs.map(formatBytes).sort((a, b) => a.length - b.length || (a < b ? -1 : 1));
  writeFileSync(join(CORPUS, `${name}.txt`), lines.map((line) => `${line}\n`).join(""));
}

function emptyFolder(name: string, inputs: readonly Buffer[] = []): string {
  const folder = join(BUILD, name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const [i, bytes] of inputs.entries()) writeFileSync(join(folder, String(i)), bytes);
  return folder;
}

async function fuzzNative(
  name: string,
  { seeds, maxBytes }: NativeTarget,
  options: FuzzOptions,
): Promise<FuzzResult> {
  const { runs = -1, seconds = 0, seed, keep = false, show = false } = options;
  const executable = join(BUILD, name);
  const first = emptyFolder(`seeds-${name}`, [...seeds(), ...committed(name)]);
  const found = emptyFolder(`found-${name}`);
  const limits = [`-timeout=${HANG_SECONDS}`, `-runs=${runs}`, `-max_total_time=${seconds}`, `-seed=${seed}`];
  const reporting = ["-print_final_stats=1", `-artifact_prefix=${BUILD}/${name}-`, "-print_funcs=0"];
  const report = await run(executable, [...limits, `-max_len=${maxBytes}`, ...reporting, found, first], show);
  const number = (pattern: RegExp): number => Number([...report.matchAll(pattern)].at(-1)?.[1] ?? 0);
  if (keep) {
    const merged = emptyFolder(`merged-${name}`);
    await run(executable, ["-merge=1", `-max_len=${maxBytes}`, merged, first, found], false);
    commit(
      name,
      readdirSync(merged).map((file) => readFileSync(join(merged, file))),
    );
  }
  return {
    runs: number(/number_of_executed_units: (\d+)/g),
    seconds: number(/ in (\d+) second/g),
    corpus: number(/corp: (\d+)/g),
    coverage: `${number(/cov: (\d+)/g)} of ${number(/\((\d+) inline 8-bit counters/g)} edges`,
  };
}

/** @throws FuzzError with the sanitizer's report or the broken property; the input is in build/fuzz then */
export async function fuzz(name: string, options: FuzzOptions): Promise<FuzzResult> {
  const target = TARGETS.get(name);
  if (target === undefined)
    throw new FuzzError(`no target ${name}; there are ${[...TARGETS.keys()].join(", ")}`);
  if (target.kind === "native") return fuzzNative(name, target, options);
  const { keep = false, show = false } = options;
  const progress = steadily((done: number, size: number) => {
    if (show) console.log(`${name}: ${done} runs, corpus ${size}`);
  });
  try {
    mkdirSync(BUILD, { recursive: true });
    const hang = { file: join(BUILD, `${name}-hang`), seconds: HANG_SECONDS };
    const report = await fuzzTypescript(target.target, committed(name), { ...options, hang, progress });
    if (keep) commit(name, report.corpus);
    const { runs, seconds, corpus, coverage } = report;
    return {
      runs,
      seconds,
      corpus: corpus.length,
      coverage: `${coverage.ran} of ${coverage.of} bytes of code`,
    };
  } catch (error) {
    if (!(error instanceof Finding)) throw error;
    const file = join(BUILD, `${name}-crash`);
    writeFileSync(file, error.input);
    throw new FuzzError(
      `${name}: an input broke the property; it is in ${file}: ${formatBytes(error.input)}\n${error.message}`,
    );
  }
}

const PROGRESS_MS = 10_000;

/** Calls on at most every PROGRESS_MS. */
function steadily<Args extends unknown[]>(call: (...args: Args) => void): (...args: Args) => void {
  let next = performance.now() + PROGRESS_MS;
  return (...args) => {
    if (performance.now() < next) return;
    next = performance.now() + PROGRESS_MS;
    call(...args);
  };
}
