/** A program that plays QEMU, with the exporter loaded as QEMU loads it, or inside with sanitizers. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { packageRoot } from "../../common/package-root.ts";
import { buildAlone } from "../support/native-program.ts";
import { until } from "../support/until.ts";

/** Where `npm run build` leaves the exporter. */
const EXPORTER = join(packageRoot, "build", "addon", "Release");

/** How the exporter comes before libvirglrenderer; `sanitized`: it is part of the program. */
export type Loading = "preload" | "replace" | "sanitized";
export type GraphicsApi = "gl" | "gles";

export interface VirglHostOptions {
  readonly loading: Loading;
  readonly api: GraphicsApi;
  /** Path of the export socket; undefined: none is asked for. */
  readonly socket: string | undefined;
  /** VSOCKENC_EXPORT_USERS. */
  readonly users?: string;
  /** More arguments, as QEMU would have them. */
  readonly args?: readonly string[];
}

/** A command was answered by "error". */
export class VirglHostError extends Error {
  override readonly name = "VirglHostError";
}

/** @returns the folder of the programs */
export function compileVirglHost(): string {
  const build = join(packageRoot, "build", "native", "virgl");
  buildAlone(build, "cmake", "-S", import.meta.dirname, "-B", build, "-G", "Ninja");
  buildAlone(build, "cmake", "--build", build);
  return build;
}

function loadingEnvironment(loading: Loading): NodeJS.ProcessEnv {
  switch (loading) {
    case "preload":
      return { LD_PRELOAD: join(EXPORTER, "libvsockenc-virgl.so") };
    case "replace":
      return { LD_LIBRARY_PATH: join(EXPORTER, "replace") };
    case "sanitized":
      return {
        LSAN_OPTIONS: `suppressions=${join(import.meta.dirname, "lsan.supp")}:print_suppressions=0`,
        UBSAN_OPTIONS: "print_stacktrace=1",
      };
  }
}

export class VirglHost {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #answers: string[] = [];
  readonly #ended: Promise<number | NodeJS.Signals>;
  /** What it has written to standard error. */
  log = "";

  private constructor(child: ChildProcessWithoutNullStreams) {
    this.#child = child;
    createInterface({ input: child.stdout }).on("line", (line) => this.#answers.push(line));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (this.log += text));
    // A program that has died does not read.
    child.stdin.on("error", () => {});
    this.#ended = new Promise((resolve) =>
      child.once("close", (status, signal) => resolve(status ?? signal ?? "SIGKILL")),
    );
  }

  /** Starts the program; virglrenderer is initialised when this resolves. */
  static async start(programs: string, options: VirglHostOptions): Promise<VirglHost> {
    const { loading, api, socket, users, args = [] } = options;
    const name = loading === "sanitized" ? "virgl-host-sanitized" : "virgl-host";
    const env = {
      ...process.env,
      LIBGL_ALWAYS_SOFTWARE: "1",
      ...(socket === undefined ? {} : { VSOCKENC_EXPORT: socket }),
      ...(users === undefined ? {} : { VSOCKENC_EXPORT_USERS: users }),
      ...loadingEnvironment(loading),
    };
    const host = new VirglHost(spawn(join(programs, name), [api, ...args], { env }));
    await host.#answer("the start");
    return host;
  }

  /** Gives commands to the program all at once. @returns the answers' numbers, 0 where there is none */
  async commands(...lines: readonly string[]): Promise<readonly number[]> {
    this.#child.stdin.write(lines.map((line) => `${line}\n`).join(""));
    const numbers: number[] = [];
    for (const line of lines) numbers.push(await this.#answer(line));
    return numbers;
  }

  /** Gives one command. @returns its answer's number @throws VirglHostError */
  async command(line: string): Promise<number> {
    const [number = 0] = await this.commands(line);
    return number;
  }

  /** How many of its descriptors are open. */
  descriptors(): Promise<number> {
    return this.command("descriptors");
  }

  /** Ends the program in order. @returns its exit status, which a leak or a fault makes other than 0 */
  end(): Promise<number | NodeJS.Signals> {
    this.#child.stdin.end();
    return this.#ended;
  }

  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended;
  }

  async #answer(line: string): Promise<number> {
    const answer = await until(() => {
      if (this.#child.exitCode !== null) throw new VirglHostError(`${line}: it has ended\n${this.log}`);
      return this.#answers.shift();
    }, `an answer to "${line}"`);
    if (!answer.startsWith("ok")) throw new VirglHostError(`${line}: ${answer}\n${this.log}`);
    return Number(answer.slice("ok".length));
  }
}
